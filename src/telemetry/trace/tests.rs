//! The way of spans to a collector that answers, one that does not, and one that there is none of.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::net::TcpListener;

use super::export::Exporter;
use super::*;

/// A collector that answers with these, one after the other, and with the last one from then on.
async fn collector(answers: &[(u16, i64)]) -> (String, Arc<Mutex<Vec<ExportTraceServiceRequest>>>) {
    let (arrived, answers) = (Arc::new(Mutex::new(Vec::new())), answers.to_vec());
    let record = Arc::clone(&arrived);
    let router = Router::new().fallback(move |body: Bytes| {
        let mut record = record.lock().unwrap();
        let (status, rejected_spans) = answers[record.len().min(answers.len() - 1)];
        record.push(ExportTraceServiceRequest::decode(body).unwrap());
        let partial_success = Some(ExportTracePartialSuccess { rejected_spans, error_message: String::new() });
        let answer = ExportTraceServiceResponse { partial_success }.encode_to_vec();
        async move { (StatusCode::from_u16(status).unwrap(), answer) }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (endpoint, arrived)
}

/// A tracer with its exporter, and what is counted meanwhile.
struct Stage {
    tracer: Tracer,
    tracing: Tracing,
    counted: PrometheusHandle,
    _recorder: metrics::LocalRecorderGuard<'static>,
}

impl Stage {
    fn set(endpoint: &str) -> Self {
        let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        let counted = recorder.handle();
        let guard = metrics::set_default_local_recorder(recorder);
        let (tracer, ended) = pair(1.0);
        let stop = CancellationToken::new();
        let exporter = Exporter::new(endpoint, ended).unwrap();
        let tracing = Tracing { exporter: tokio::spawn(exporter.run(stop.clone())), stop };
        Self { tracer, tracing, counted, _recorder: guard }
    }

    fn span(&self, name: &'static str) {
        self.tracer.begin(name, Parent::None).end();
    }

    /// Ends it; how many were exported, and how many dropped.
    async fn end(self, within: Duration) -> (u64, u64) {
        self.tracing.end(within).await;
        counts(&self.counted)
    }
}

fn counts(counted: &PrometheusHandle) -> (u64, u64) {
    let text = counted.render();
    let count = |result: &str| {
        let start = format!("{}{{result=\"{result}\"}} ", metric::SPANS);
        text.lines().find_map(|line| line.strip_prefix(&start)).map_or(0, |count| count.parse().unwrap())
    };
    (count("exported"), count("dropped"))
}

fn names(request: &ExportTraceServiceRequest) -> Vec<String> {
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| &scope.spans).map(|span| span.name.clone()).collect()
}

#[tokio::test]
async fn the_end_sends_what_is_left() {
    let (endpoint, arrived) = collector(&[(200, 0)]).await;
    let stage = Stage::set(&endpoint);
    stage.span("one");
    // The exporter has begun to gather a batch.
    tokio::time::sleep(Duration::from_millis(50)).await;
    stage.span("two");
    assert_eq!(stage.end(Duration::from_secs(10)).await, (2, 0));
    let all: Vec<_> = arrived.lock().unwrap().iter().flat_map(names).collect();
    assert_eq!(all, ["one", "two"]);
}

#[tokio::test]
async fn a_batch_that_may_be_taken_later_is_sent_again() {
    let (endpoint, arrived) = collector(&[(503, 0), (429, 0), (200, 0)]).await;
    let stage = Stage::set(&endpoint);
    stage.span("patient");
    while arrived.lock().unwrap().len() < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(stage.end(Duration::from_secs(10)).await, (1, 0));
    assert!(arrived.lock().unwrap().iter().all(|request| names(request) == ["patient"]));
}

#[tokio::test]
async fn what_a_collector_refuses_is_dropped_and_counted_and_the_next_is_sent() {
    let (endpoint, arrived) = collector(&[(400, 0), (200, 1)]).await;
    let stage = Stage::set(&endpoint);
    stage.span("refused");
    while arrived.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.span("taken");
    stage.span("rejected");
    assert_eq!(stage.end(Duration::from_secs(10)).await, (1, 2));
}

#[tokio::test]
async fn a_collector_that_is_away_holds_up_neither_spans_nor_the_end() {
    // Nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let stage = Stage::set(&format!("http://{gone}"));
    let counted = stage.counted.clone();
    let begun = Instant::now();
    for _ in 0..=QUEUE_MAX {
        stage.span("lost");
    }
    assert_eq!(counts(&counted), (0, 1), "the queue is full, and the exporter had no turn yet");
    assert_eq!(stage.end(Duration::from_secs(10)).await, (0, u64::try_from(QUEUE_MAX).unwrap() + 1));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    // One that takes the connection and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stage = Stage::set(&format!("http://{}", silent.local_addr().unwrap()));
    stage.span("lost");
    let begun = Instant::now();
    stage.end(Duration::from_millis(200)).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
