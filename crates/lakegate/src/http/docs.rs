//! `/docs`: serves Swagger UI from this binary.
//!
//! The page is the same for everybody and reveals nothing: it loads the OpenAPI document with the token that the user
//! enters. It makes no request to another host, and runs no script but the files listed here.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::sync::{Arc, LazyLock};

use axum::extract::Extension;
use axum::http::Uri;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use lakegate_core::error::{Code, Error};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

use super::problem::Failure;
use super::unknown_path;
use crate::context::RequestContext;

/// The path of the page.
const PAGE: &str = "/docs";

/// Allows only files of this server and only external script files, and forbids framing. Images in style sheets are
/// `data:` URLs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
struct DocsFile {
    content_type: &'static str,
    body: Bytes,
}

/// Path, content type and source of every file.
const FILES: &[(&str, &str, FileSource)] = &[
    (PAGE, "text/html; charset=utf-8", FileSource::Embedded(include_bytes!("docs/index.html"))),
    ("/docs/page.css", "text/css; charset=utf-8", FileSource::Embedded(include_bytes!("docs/page.css"))),
    ("/docs/page.js", "text/javascript; charset=utf-8", FileSource::Embedded(include_bytes!("docs/page.js"))),
    ("/docs/swagger-ui.css", "text/css; charset=utf-8", FileSource::SwaggerUi("swagger-ui.css")),
    ("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8", FileSource::SwaggerUi("swagger-ui-bundle.js")),
    ("/docs/favicon.png", "image/png", FileSource::SwaggerUi("favicon-32x32.png")),
];

/// The source of a file.
#[derive(Clone, Copy)]
enum FileSource {
    /// A file of this crate.
    Embedded(&'static [u8]),
    /// A file of Swagger UI's `dist/`.
    SwaggerUi(&'static str),
}

/// The paths that this module serves.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(path, ..)| *path)
}

/// Whether the path belongs to the page. Like `/health`, these paths need no token and reveal nothing.
pub(super) fn is_docs_path(path: &str) -> bool {
    paths().any(|known| known == path)
}

/// Serves a file of the page.
pub(super) async fn file(Extension(context): Extension<Arc<RequestContext>>, uri: Uri) -> Result<Response, Failure> {
    if !context.served.config().docs.serve {
        return Err(unknown_path().await);
    }
    let file = files()?.get(uri.path()).ok_or_else(unpacked)?;
    let headers = [
        (CONTENT_TYPE, file.content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    Ok((headers, file.body.clone()).into_response())
}

/// All files, unpacked on first use.
fn files() -> Result<&'static HashMap<&'static str, DocsFile>, Error> {
    static UNPACKED: LazyLock<Option<HashMap<&'static str, DocsFile>>> = LazyLock::new(unpack);
    UNPACKED.as_ref().ok_or_else(unpacked)
}

fn unpacked() -> Error {
    Error::new(Code::Internal, "something went wrong").source("a file of the page is not in the binary")
}

fn unpack() -> Option<HashMap<&'static str, DocsFile>> {
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED)).ok()?;
    let names = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect::<Vec<_>>();
    let mut files = HashMap::new();
    for (path, content_type, from) in FILES {
        let body = match from {
            FileSource::Embedded(bytes) => Bytes::from_static(bytes),
            FileSource::SwaggerUi(name) => {
                // The top folder of the archive is named after the version.
                let wanted =
                    |full: &&String| full.split_once('/').is_some_and(|(_, rest)| rest == format!("dist/{name}"));
                let mut body = Vec::new();
                archive.by_name(names.iter().find(wanted)?).ok()?.read_to_end(&mut body).ok()?;
                body.into()
            }
        };
        files.insert(*path, DocsFile { content_type, body });
    }
    Some(files)
}
