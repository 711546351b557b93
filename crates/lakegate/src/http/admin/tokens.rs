//! `/admin/tokens`: lists, issues, rotates and revokes tokens. Only the response that creates a token holds its text.

use axum::Json;
use axum::response::Response;

use super::refusal::refusal;
use super::request::{Body, Filter, Named};
use crate::admin::{AdminService, IssueToken, IssuedAnswer, Nothing, RotateToken, TokenAnswer, TokenFilter};
use crate::clock;
use crate::http::problem::{Failure, created};

pub(super) async fn list(
    admin: AdminService,
    Filter(filter): Filter<TokenFilter>,
) -> Result<Json<Vec<TokenAnswer>>, Failure> {
    let now = clock::now();
    let tokens = admin.tokens(&filter, now).await.map_err(refusal)?;
    Ok(Json(tokens.iter().map(|listing| TokenAnswer::new(listing, now)).collect()))
}

pub(super) async fn issue(admin: AdminService, Body(mut request): Body<IssueToken>) -> Result<Response, Failure> {
    let now = clock::now();
    let principal = std::mem::take(&mut request.principal);
    let request = request.into_request(now).map_err(refusal)?;
    let (token, listing) = admin.issue_token(&principal, request, now).await.map_err(refusal)?;
    Ok(created(IssuedAnswer::new(&token, &listing)))
}

pub(super) async fn rotate(
    admin: AdminService,
    Named(id): Named,
    Body(request): Body<RotateToken>,
) -> Result<Response, Failure> {
    let now = clock::now();
    let rotation = request.into_rotation(now).map_err(refusal)?;
    let (token, listing) = admin.rotate_token(&id, rotation, now).await.map_err(refusal)?;
    Ok(created(IssuedAnswer::new(&token, &listing)))
}

pub(super) async fn revoke(
    admin: AdminService,
    Named(id): Named,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<TokenAnswer>, Failure> {
    let now = clock::now();
    let (listing, _) = admin.revoke_token(&id, now).await.map_err(refusal)?;
    Ok(Json(TokenAnswer::new(&listing, now)))
}
