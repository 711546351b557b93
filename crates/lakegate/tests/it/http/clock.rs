//! `now()` and `current_date()` return the time of the request, although plans are reused between requests.

use chrono::NaiveDateTime;
use lakegate::clock;
use serde_json::json;

use crate::support::app::TestApp;

const CONFIG: &str = "[lake]\nlocation = \"lake/\"\n[tables.one]\nlocation = \"one.csv\"\nshared = true\n";
const ENDPOINT: &str = "/*---
summary = \"The time\"
---*/
SELECT CAST(now() AS timestamp) AS moment, current_date() AS day, now() > TIMESTAMP '2020-01-01' AS later FROM one";

#[tokio::test]
async fn every_request_has_a_time_of_its_own() {
    let files = [("lakegate.toml", CONFIG), ("endpoints/time.sql", ENDPOINT), ("lake/one.csv", "n\n1\n")];
    let app = TestApp::project(&files).await;
    let token = app.admit("caller", "client", &[]).await;
    let mut moments = Vec::new();
    for _ in 0..3 {
        let before = clock::now().naive_utc();
        let row = app.post(&token, "/api/time", &json!({})).await.rows().remove(0);
        let after = clock::now().naive_utc();
        let moment: NaiveDateTime = row["moment"].as_str().unwrap().parse().unwrap();
        assert!(before <= moment && moment <= after, "{before} {moment} {after}");
        assert!([before, after].iter().any(|time| row["day"] == time.date().to_string()), "{row}");
        assert_eq!(row["later"], true);
        moments.push(moment);
    }
    assert!(moments.is_sorted_by(|one, other| one < other), "{moments:?}");
}
