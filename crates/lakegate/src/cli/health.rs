//! `lakegate health`: reports whether a server is ready as an exit code, for containers without an HTTP client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use lakegate_core::project::{Project, ProjectFiles};
use reqwest::Url;
use serde_json::Value;

use super::options::ProjectOption;
use super::output::{print, say};
use crate::project::{read_files, variables};

pub(super) const HELP: &str = "\
Requests `/health/ready`. Exit codes: 0 the server is ready, 1 it is not ready or does not answer; stderr has the reason.
Without `--url`, asks the project's server on this machine, at the address of the project, its environment variables or
LAKEGATE_LISTEN. Certificates are not verified at loopback addresses, because they are issued for names.

Examples:
  lakegate health
  lakegate health --url https://data.example.com --timeout-seconds 2";

/// The arguments of `lakegate health`.
#[derive(Args, Debug)]
pub struct HealthArgs {
    /// Ask the server at this URL, without a path
    #[arg(long, value_name = "URL", env = "LAKEGATE_URL")]
    url: Option<String>,
    #[command(flatten)]
    project: ProjectOption,
    /// Ask the server at this address and port instead of the project's
    #[arg(long, value_name = "ADDR", env = "LAKEGATE_LISTEN")]
    listen: Option<String>,
    /// Wait at most this many seconds
    #[arg(long, value_name = "N", default_value_t = 5)]
    timeout_seconds: u64,
}

pub(super) async fn run(args: HealthArgs) -> anyhow::Result<ExitCode> {
    let url = match &args.url {
        Some(url) => url.parse().with_context(|| format!("`{url}` is not a URL"))?,
        None => own_url(&args)?,
    };
    if !matches!(url.scheme(), "http" | "https") {
        bail!("`{url}` is not the URL of a server; write it like `http://127.0.0.1:8080`");
    }
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(args.timeout_seconds))
        .tls_danger_accept_invalid_certs(is_of_this_machine(&url))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()?;
    let asked = url.join("health/ready")?;
    let answer = client.get(asked.clone()).send().await.with_context(|| format!("`{asked}` does not answer"))?;
    if answer.status().is_success() {
        print("ready")?;
        return Ok(ExitCode::SUCCESS);
    }
    let status = answer.status().as_u16();
    let problem = serde_json::from_slice::<Value>(&answer.bytes().await?).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("it does not say why");
    say(format_args!("not ready ({status}): {detail}"));
    Ok(ExitCode::FAILURE)
}

/// The URL of the project's server, as seen from this machine.
fn own_url(args: &HealthArgs) -> anyhow::Result<Url> {
    // Without a readable project, environment variables may still name the address.
    let files = read_files(&args.project.folder)
        .unwrap_or_else(|_| ProjectFiles { variables: variables(), ..ProjectFiles::default() });
    let (project, _) = Project::read(&ProjectFiles { endpoints: [].into(), ..files });
    let listen = args.listen.as_deref().unwrap_or(&project.config.server.listen);
    let address = match listen.parse::<SocketAddr>() {
        Ok(mut address) => {
            match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
                IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
                _ => {}
            }
            address.to_string()
        }
        Err(_) => listen.to_owned(),
    };
    let scheme = if project.config.http.tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}");
    url.parse().with_context(|| format!("`{listen}` is not an address and a port"))
}

fn is_of_this_machine(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
