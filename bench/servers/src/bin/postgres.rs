//! `postgres`: a thin server over an indexed database: prepared statements, a pool, and answers written by hand.
//!
//!     BENCH_DATABASE='host=/folder/of/socket user=postgres' BENCH_TOKENS=tokens.json BENCH_SQL=folder postgres
//!
//! It prints its address, and serves `GET /api/ENDPOINT` for each file of the folder. The caller's filter is in the SQL.

use std::collections::HashMap;
use std::env;
use std::io::Write;
use std::path::Path as FilePath;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use serde::Deserialize;
use tokio_postgres::types::Type;
use tokio_postgres::{NoTls, Row};

/// As many as callers in the measurement: none waits for a connection.
const CONNECTIONS: usize = 32;

struct App {
    pool: Pool,
    clients: HashMap<String, i64>,
    queries: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Range {
    start_datetime: DateTime<Utc>,
    end_datetime: DateTime<Utc>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let database: tokio_postgres::Config = variable("BENCH_DATABASE")?.parse()?;
    let tokens = std::fs::read(variable("BENCH_TOKENS")?).context("cannot read the tokens")?;
    let manager = Manager::from_config(database, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    let app = App {
        pool: Pool::builder(manager).max_size(CONNECTIONS).build()?,
        clients: serde_json::from_slice(&tokens)?,
        queries: queries(FilePath::new(&variable("BENCH_SQL")?))?,
    };
    let app = Router::new().route("/api/{endpoint}", get(answer)).with_state(Arc::new(app));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    axum::serve(axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))), app).await?;
    Ok(())
}

fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("`{name}` is not set"))
}

fn queries(folder: &FilePath) -> Result<HashMap<String, String>> {
    let mut queries = HashMap::new();
    for file in std::fs::read_dir(folder).context("cannot list the queries")? {
        let path = file?.path();
        if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
            queries.insert(name.to_owned(), std::fs::read_to_string(&path)?);
        }
    }
    Ok(queries)
}

async fn answer(
    State(app): State<Arc<App>>,
    Path(endpoint): Path<String>,
    Query(range): Query<Range>,
    headers: HeaderMap,
) -> Response {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(client) = token.and_then(|token| app.clients.get(token)) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let Some(sql) = app.queries.get(&endpoint) else { return StatusCode::NOT_FOUND.into_response() };
    match ask(&app.pool, sql, *client, &range).await {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}

async fn ask(pool: &Pool, sql: &str, client: i64, range: &Range) -> Result<Vec<u8>> {
    let connection = pool.get().await?;
    let statement = connection.prepare_typed_cached(sql, &[Type::INT8, Type::TIMESTAMP, Type::TIMESTAMP]).await?;
    let (start, end) = (range.start_datetime.naive_utc(), range.end_datetime.naive_utc());
    let rows = connection.query(&statement, &[&client, &start, &end]).await?;
    let mut json = vec![b'['];
    for (at, row) in rows.iter().enumerate() {
        json.extend_from_slice(if at == 0 { b"{" } else { b",{" });
        write_row(&mut json, row)?;
        json.push(b'}');
    }
    json.push(b']');
    Ok(json)
}

fn write_row(json: &mut Vec<u8>, row: &Row) -> Result<()> {
    for (at, column) in row.columns().iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        write!(json, "\"{}\":", column.name())?;
        match *column.type_() {
            Type::BOOL => serde_json::to_writer(&mut *json, &row.try_get::<_, Option<bool>>(at)?)?,
            Type::INT4 => serde_json::to_writer(&mut *json, &row.try_get::<_, Option<i32>>(at)?)?,
            Type::INT8 => serde_json::to_writer(&mut *json, &row.try_get::<_, Option<i64>>(at)?)?,
            Type::FLOAT8 => serde_json::to_writer(&mut *json, &row.try_get::<_, Option<f64>>(at)?)?,
            Type::DATE => serde_json::to_writer(&mut *json, &row.try_get::<_, Option<NaiveDate>>(at)?)?,
            Type::TIMESTAMP => serde_json::to_writer(&mut *json, &row.try_get::<_, Option<NaiveDateTime>>(at)?)?,
            _ => serde_json::to_writer(&mut *json, &row.try_get::<_, Option<&str>>(at)?)?,
        }
    }
    Ok(())
}
