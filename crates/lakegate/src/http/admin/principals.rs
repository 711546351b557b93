//! `/admin/principals`: lists, adds, shows, changes, disables and enables principals.

use axum::Json;
use axum::response::Response;

use super::refusal::refusal;
use super::request::{Body, Filter, Named};
use crate::admin::{
    AddPrincipal, ChangePrincipal, Desk, Nothing, PrincipalAnswer, PrincipalDetailsAnswer, PrincipalFilter,
};
use crate::clock;
use crate::http::problem::{Failure, created};

pub(super) async fn list(
    desk: Desk,
    Filter(filter): Filter<PrincipalFilter>,
) -> Result<Json<Vec<PrincipalAnswer>>, Failure> {
    let principals = desk.principals(&filter).await.map_err(refusal)?;
    Ok(Json(principals.iter().map(|principal| PrincipalAnswer::of(principal, desk.secret())).collect()))
}

pub(super) async fn add(desk: Desk, Body(request): Body<AddPrincipal>) -> Result<Response, Failure> {
    let new = request.into_new().map_err(refusal)?;
    let principal = desk.add_principal(new, clock::now()).await.map_err(refusal)?;
    Ok(created(PrincipalAnswer::of(&principal, desk.secret())))
}

pub(super) async fn show(desk: Desk, Named(name): Named) -> Result<Json<PrincipalDetailsAnswer>, Failure> {
    let details = desk.principal(&name).await.map_err(refusal)?;
    Ok(Json(PrincipalDetailsAnswer::of(&details, desk.secret(), clock::now())))
}

pub(super) async fn change(
    desk: Desk,
    Named(name): Named,
    Body(request): Body<ChangePrincipal>,
) -> Result<Json<PrincipalAnswer>, Failure> {
    let change = request.into_change().map_err(refusal)?;
    let principal = desk.change_principal(&name, change, clock::now()).await.map_err(refusal)?;
    Ok(Json(PrincipalAnswer::of(&principal, desk.secret())))
}

pub(super) async fn disable(
    desk: Desk,
    Named(name): Named,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<PrincipalAnswer>, Failure> {
    let (principal, _) = desk.disable_principal(&name, clock::now()).await.map_err(refusal)?;
    Ok(Json(PrincipalAnswer::of(&principal, desk.secret())))
}

pub(super) async fn enable(
    desk: Desk,
    Named(name): Named,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<PrincipalAnswer>, Failure> {
    let (principal, _) = desk.enable_principal(&name, clock::now()).await.map_err(refusal)?;
    Ok(Json(PrincipalAnswer::of(&principal, desk.secret())))
}
