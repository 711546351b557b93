//! `/admin/principals`: lists, adds, shows, changes, disables and enables principals.

use axum::Json;
use axum::response::Response;

use super::refusal::refusal;
use super::request::{Body, Filter, Named};
use crate::admin::{
    AddPrincipal, AdminService, ChangePrincipal, Nothing, PrincipalAnswer, PrincipalDetailsAnswer, PrincipalFilter,
};
use crate::clock;
use crate::http::problem::{Failure, created};

pub(super) async fn list(
    admin: AdminService,
    Filter(filter): Filter<PrincipalFilter>,
) -> Result<Json<Vec<PrincipalAnswer>>, Failure> {
    let principals = admin.principals(&filter).await.map_err(refusal)?;
    Ok(Json(principals.iter().map(|principal| PrincipalAnswer::new(principal, admin.secret())).collect()))
}

pub(super) async fn add(admin: AdminService, Body(request): Body<AddPrincipal>) -> Result<Response, Failure> {
    let new = request.into_new().map_err(refusal)?;
    let principal = admin.add_principal(new, clock::now()).await.map_err(refusal)?;
    Ok(created(PrincipalAnswer::new(&principal, admin.secret())))
}

pub(super) async fn show(admin: AdminService, Named(name): Named) -> Result<Json<PrincipalDetailsAnswer>, Failure> {
    let details = admin.principal(&name).await.map_err(refusal)?;
    Ok(Json(PrincipalDetailsAnswer::new(&details, admin.secret(), clock::now())))
}

pub(super) async fn change(
    admin: AdminService,
    Named(name): Named,
    Body(request): Body<ChangePrincipal>,
) -> Result<Json<PrincipalAnswer>, Failure> {
    let change = request.into_change().map_err(refusal)?;
    let principal = admin.change_principal(&name, change, clock::now()).await.map_err(refusal)?;
    Ok(Json(PrincipalAnswer::new(&principal, admin.secret())))
}

pub(super) async fn disable(
    admin: AdminService,
    Named(name): Named,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<PrincipalAnswer>, Failure> {
    let (principal, _) = admin.disable_principal(&name, clock::now()).await.map_err(refusal)?;
    Ok(Json(PrincipalAnswer::new(&principal, admin.secret())))
}

pub(super) async fn enable(
    admin: AdminService,
    Named(name): Named,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<PrincipalAnswer>, Failure> {
    let (principal, _) = admin.enable_principal(&name, clock::now()).await.map_err(refusal)?;
    Ok(Json(PrincipalAnswer::new(&principal, admin.secret())))
}
