//! One page for programs, as `recv --metrics` has it, over the HTTP of `serve` and with bounds of its own:
//! there is one Prometheus, or a few.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::reply::PLAIN;
use super::serve::{Heads, http};

/// Connections that are answered at once; further ones wait in the kernel.
const CONNECTIONS_MAX: usize = 16;

/// Prometheus sends some 300 bytes, a browser 2 KiB.
const HEADS: Heads = Heads { bytes: 8 * 1024, fields: 64, timeout: TIMEOUT };

/// How long all of it may take, from the connection to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait where nobody can be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// What the text is (OpenMetrics 1.0).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers for as long as the program runs. `page` writes the text anew for each who asks.
pub async fn serve(listener: std::net::TcpListener, page: impl Fn() -> String + Send + Sync + 'static) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::warn!("there are no metrics: {error}"),
    };
    let page = Arc::new(page);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let page = page.clone();
                tokio::spawn(async move {
                    // Whoever is slow or gone is not our concern.
                    let _ = timeout(TIMEOUT, speak(stream, page)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!("nobody can ask for metrics now: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

/// One request, one answer.
async fn speak(stream: TcpStream, page: Arc<impl Fn() -> String>) -> hyper::Result<()> {
    let answer = |request: Request<_>| {
        let page = page.clone();
        async move { Ok::<_, Infallible>(answer(&request, &*page)) }
    };
    http(HEADS).keep_alive(false).serve_connection(TokioIo::new(stream), service_fn(answer)).await
}

fn answer<B>(request: &Request<B>, page: &impl Fn() -> String) -> Response<Full<Bytes>> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, kind, text) = match request.uri().path() {
        "/metrics" if is_read => (StatusCode::OK, OPEN_METRICS, page()),
        "/metrics" => (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "the page takes GET and HEAD\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, PLAIN, "the page is at /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_for_the_page_gets_it() {
        for (method, path, status) in [
            ("GET", "/metrics", 200),
            ("GET", "/metrics?x=1", 200),
            ("HEAD", "/metrics", 200),
            ("GET", "/", 404),
            ("GET", "/metrics/../etc", 404),
            ("POST", "/metrics", 405),
        ] {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            assert_eq!(answer(&request, &|| "page".into()).status(), status, "{method} {path}");
        }
    }
}
