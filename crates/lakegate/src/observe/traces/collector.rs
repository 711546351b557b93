//! Sends spans to a collector: a bounded queue, and a thread that sends its spans as OTLP over HTTP.
//!
//! Queueing a span never blocks. The thread counts exports and failures, and logs failures from time to time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use async_trait::async_trait;
use lakegate_core::project::Traces;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanProcessor};

use crate::observe::metrics::Metrics;

/// The maximum number of queued spans, from about three hundred requests.
const MAX_QUEUED_SPANS: usize = 4_096;
/// The timeout for sending a batch to the collector.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The interval at which a lasting failure is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A connection to a span collector.
pub(super) struct Collector(BatchSpanProcessor);

impl Collector {
    /// Starts the thread, without checking that a collector listens.
    pub(super) fn start(config: &Traces, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        // A blocking client must not be created on a thread that runs async tasks.
        let client = std::thread::spawn(|| {
            reqwest::blocking::Client::builder()
                .timeout(EXPORT_TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("lakegate/", env!("CARGO_PKG_VERSION")))
                .build()
        });
        let client = client.join().map_err(|_| anyhow::anyhow!("the client for traces could not be made"))?;
        let client = CountingClient { client: client?, metrics, logged_at: Mutex::default() };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&config.endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .context("the exporter for traces could not be made")?;
        let batches = BatchConfigBuilder::default().with_max_queue_size(MAX_QUEUED_SPANS).build();
        let mut processor = BatchSpanProcessor::new(exporter, batches);
        processor.set_resource(&Resource::builder().with_service_name(config.service_name.clone()).build());
        Ok(Self(processor))
    }

    /// Queues a span, or drops it if the queue is full.
    pub(super) fn queue(&self, span: SpanData) {
        self.0.on_end(span);
    }

    /// Sends the queued spans and stops the thread. Blocks.
    pub(super) fn shutdown(&self, most: Duration) {
        if self.0.shutdown_with_timeout(most).is_err() {
            tracing::warn!("the last spans could not be sent to the collector in time");
        }
    }
}

/// An HTTP client that counts exports.
#[derive(Debug)]
struct CountingClient {
    client: reqwest::blocking::Client,
    metrics: Arc<Metrics>,
    logged_at: Mutex<Option<Instant>>,
}

#[async_trait]
impl HttpClient for CountingClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.client.send_bytes(request).await;
        let fault = match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answered {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        self.metrics.exported(fault.is_none());
        if let Some(fault) = fault {
            let mut logged_at = self.logged_at.lock().unwrap_or_else(PoisonError::into_inner);
            if logged_at.is_none_or(|logged_at| logged_at.elapsed() >= LOG_INTERVAL) {
                *logged_at = Some(Instant::now());
                tracing::warn!(
                    error.detail = fault,
                    "the collector does not take traces; they are dropped until it does"
                );
            }
        }
        sent
    }
}
