//! Finds a table's newest metadata file in AWS Glue with one signed `GetTable` request. Credentials come from the
//! standard AWS credential chain of the environment.

use datafusion::object_store::aws::{AmazonS3Builder, AwsAuthorizer};
use datafusion::object_store::client::{HttpRequest, HttpRequestBody};
use lakegate_core::project::CatalogEntry;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::super::TableFault;
use super::{away, body, client, is_in_trouble, no_table, not_understood, refused, restricted};

pub(super) async fn metadata_location(
    entry: &CatalogEntry,
    region: &str,
    account: Option<&str>,
    endpoint: Option<&str>,
) -> Result<String, TableFault> {
    let url = endpoint.map_or_else(|| format!("https://glue.{region}.amazonaws.com"), str::to_owned) + "/";
    let mut asked = json!({ "DatabaseName": entry.namespace.join("."), "Name": entry.table });
    if let Some(account) = account {
        asked["CatalogId"] = json!(account);
    }
    let asked = asked.to_string();
    // An S3 client builder implements the credential chain; no request is sent to a bucket.
    let chain = AmazonS3Builder::from_env().with_region(region).with_bucket_name("none").build();
    let chain = chain.map_err(|error| TableFault::new("there are no AWS credentials").source(error))?;
    let credential = chain.credentials().get_credential().await;
    let credential = credential.map_err(|error| refused(entry).source(error))?;

    let mut request = HttpRequest::new(HttpRequestBody::from(asked.clone()));
    let wrong = || not_understood(entry);
    *request.method_mut() = "POST".parse().map_err(|_| wrong())?;
    *request.uri_mut() = url.parse().map_err(|_| wrong())?;
    for (name, value) in [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "AWSGlue.GetTable")] {
        request.headers_mut().insert(name, value.parse().map_err(|_| wrong())?);
    }
    AwsAuthorizer::new(&credential, "glue", region).with_sign_payload(true).authorize(&mut request, None);
    let sent = client()?.post(&url).headers(request.headers().clone()).body(asked).send().await;
    let response = sent.map_err(|error| away(entry, "does not answer").source(error.without_url()))?;
    let status = response.status();
    let answer = serde_json::from_slice::<Value>(&body(entry, response).await?).unwrap_or_default();
    if status != StatusCode::OK {
        let kind = answer["__type"].as_str().unwrap_or_default();
        return Err(match kind.rsplit('#').next().unwrap_or_default() {
            "EntityNotFoundException" => no_table(entry),
            "ThrottlingException" | "OperationTimeoutException" => away(entry, "cannot answer now"),
            _ if is_in_trouble(status) => away(entry, "cannot answer now"),
            "AccessDeniedException" => refused(entry).withdrawn(),
            _ => refused(entry),
        });
    }
    // Lake Formation vends credentials that enforce its row and column filters; the lake's own credentials see
    // everything.
    if answer["Table"]["IsRegisteredWithLakeFormation"].as_bool() == Some(true) {
        return Err(restricted(entry, "its access is managed by Lake Formation (`IsRegisteredWithLakeFormation`)"));
    }
    let parameters = &answer["Table"]["Parameters"];
    let is_iceberg = parameters["table_type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("iceberg"));
    let location = parameters["metadata_location"].as_str().filter(|_| is_iceberg);
    location.map(str::to_owned).ok_or_else(|| no_table(entry))
}
