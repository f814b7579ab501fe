//! The same bytes straight to hyper's client.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper::{HeaderMap, Request, Response, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::corpus::{Asked, Case};
use crate::outcome::{Answer, Fields, Outcome};
use crate::support::{PATIENCE, block_on};

/// What hyper makes of the pod's bytes.
pub(crate) fn ask(case: &Case) -> Outcome {
    block_on(async {
        let (near, far) = duplex(1024 * 1024);
        let exchange = async { tokio::join!(exchange(case, near), answer(case, far)).0 };
        tokio::time::timeout(PATIENCE, exchange).await.expect("hyper waits for more")
    })
}

async fn exchange(case: &Case, stream: DuplexStream) -> Outcome {
    let (mut sender, conn) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let request = Request::builder().method(case.asked.method()).uri("/").header("host", "hello");
    let request = request.body(Full::new(Bytes::from_static(case.asked.body()))).unwrap();
    let response = async {
        let outcome = match sender.send_request(request).await {
            Ok(response) => Outcome::Answer(read(response).await),
            Err(_) => Outcome::Refused,
        };
        // Without it the connection has no reason to go on.
        drop(sender);
        outcome
    };
    tokio::pin!(response, conn);
    // Both at once, until there is an outcome: what becomes of the connection then is not compared.
    tokio::select! {
        outcome = &mut response => outcome,
        _ = &mut conn => response.await,
    }
}

async fn read(response: Response<Incoming>) -> Answer {
    let (head, mut body) = response.into_parts();
    let phrase = head.extensions.get::<ReasonPhrase>().map(|phrase| phrase.as_bytes().to_vec());
    let usual = head.status.canonical_reason().unwrap_or_default();
    let mut answer = Answer {
        status: head.status.as_u16(),
        is_old: head.version == Version::HTTP_10,
        phrase: phrase.unwrap_or_else(|| usual.as_bytes().to_vec()),
        headers: fields(&head.headers),
        complete: true,
        ..Answer::default()
    };
    while let Some(frame) = body.frame().await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => answer.body.extend(data),
            Ok(Err(frame)) => answer.trailers = fields(&frame.into_trailers().unwrap_or_default()),
            Err(_) => answer.complete = false,
        }
    }
    answer
}

fn fields(headers: &HeaderMap) -> Fields {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

/// The pod.
async fn answer(case: &Case, mut stream: DuplexStream) {
    let mut request = Vec::new();
    let all = if case.asked == Asked::PostAnsweredEarly { 0 } else { case.asked.body().len() };
    let is_whole = |request: &[u8]| {
        let end = request.windows(4).position(|four| four == b"\r\n\r\n");
        end.is_some_and(|end| request.len() >= end + 4 + all)
    };
    while !is_whole(&request) {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    for piece in case.pieces() {
        // hyper may have had enough.
        let _ = stream.write_all(piece).await;
        tokio::task::yield_now().await;
    }
    if !case.stays {
        let _ = stream.shutdown().await;
    }
    // Until hyper drops it.
    while stream.read_buf(&mut request).await.unwrap_or(0) > 0 {}
}
