//! `/admin/grants`: lists, adds, shows and revokes grants and denials.

use axum::Json;
use axum::response::{IntoResponse, Response};

use super::refusal::refusal;
use super::request::{Body, Filter, Named};
use crate::admin::{AddGrant, AdminService, GrantAnswer, GrantFilter, Nothing};
use crate::clock;
use crate::http::problem::{Failure, created};
use crate::store::{GrantListing, Granting};

pub(super) async fn list(
    admin: AdminService,
    Filter(filter): Filter<GrantFilter>,
) -> Result<Json<Vec<GrantAnswer>>, Failure> {
    let now = clock::now();
    let grants = admin.grants(&filter).await.map_err(refusal)?;
    Ok(Json(grants.iter().map(|listing| GrantAnswer::new(listing, now)).collect()))
}

/// Returns 201 for a new grant, and 200 with the existing grant if it is already in force.
pub(super) async fn add(admin: AdminService, Body(request): Body<AddGrant>) -> Result<Response, Failure> {
    let now = clock::now();
    let request = request.into_request(now).map_err(refusal)?;
    let answer = |grant| GrantAnswer::new(&GrantListing { grant, revoked_at: None }, now);
    Ok(match admin.add_grant(request, now).await.map_err(refusal)? {
        Granting::Added(grant) => created(answer(grant)),
        Granting::Unchanged(grant) => Json(answer(grant)).into_response(),
    })
}

pub(super) async fn show(admin: AdminService, Named(id): Named) -> Result<Json<GrantAnswer>, Failure> {
    let listing = admin.grant(&id).await.map_err(refusal)?;
    Ok(Json(GrantAnswer::new(&listing, clock::now())))
}

pub(super) async fn revoke(
    admin: AdminService,
    Named(id): Named,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<GrantAnswer>, Failure> {
    let now = clock::now();
    let (listing, _) = admin.revoke_grant(&id, now).await.map_err(refusal)?;
    Ok(Json(GrantAnswer::new(&listing, now)))
}
