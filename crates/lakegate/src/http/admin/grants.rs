//! `/admin/grants`: lists, adds, shows and revokes grants and denials.

use axum::Json;
use axum::response::{IntoResponse, Response};

use super::refusal::refusal;
use super::request::{Body, Filter, Named};
use crate::admin::{AddGrant, Desk, GrantAnswer, GrantFilter, Nothing};
use crate::clock;
use crate::http::problem::{Failure, created};
use crate::store::{GrantListing, Granting};

pub(super) async fn list(desk: Desk, Filter(filter): Filter<GrantFilter>) -> Result<Json<Vec<GrantAnswer>>, Failure> {
    let now = clock::now();
    let grants = desk.grants(&filter).await.map_err(refusal)?;
    Ok(Json(grants.iter().map(|listing| GrantAnswer::of(listing, now)).collect()))
}

/// Returns 201 for a new grant, and 200 with the existing grant if it is already in force.
pub(super) async fn add(desk: Desk, Body(request): Body<AddGrant>) -> Result<Response, Failure> {
    let now = clock::now();
    let request = request.into_request(now).map_err(refusal)?;
    let answer = |grant| GrantAnswer::of(&GrantListing { grant, revoked_at: None }, now);
    Ok(match desk.add_grant(request, now).await.map_err(refusal)? {
        Granting::Added(grant) => created(answer(grant)),
        Granting::Unchanged(grant) => Json(answer(grant)).into_response(),
    })
}

pub(super) async fn show(desk: Desk, Named(id): Named) -> Result<Json<GrantAnswer>, Failure> {
    let listing = desk.grant(&id).await.map_err(refusal)?;
    Ok(Json(GrantAnswer::of(&listing, clock::now())))
}

pub(super) async fn revoke(
    desk: Desk,
    Named(id): Named,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<GrantAnswer>, Failure> {
    let now = clock::now();
    let (listing, _) = desk.revoke_grant(&id, now).await.map_err(refusal)?;
    Ok(Json(GrantAnswer::of(&listing, now)))
}
