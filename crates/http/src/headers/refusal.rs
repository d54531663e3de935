//! Why a head is refused: a status, and a word for records.

use http::{HeaderValue, StatusCode};

/// A head that weir does not pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer that the client gets.
    pub status: StatusCode,
    /// The reason, for records alone.
    pub reason: Reason,
}

weir_metrics::closed_set! {
    /// Why weir does not pass a head on.
    pub Reason {
        /// No host, more than one, one that is no host and port, or one that differs from the target's.
        Host = "host",
        /// A request target that is none, or not one for this method.
        Target = "target",
        /// CONNECT or TRACE.
        Method = "method",
        /// A Content-Length that is no number, or more than one; a Transfer-Encoding in HTTP/1.0.
        Length = "length",
        /// A transfer coding other than `chunked`.
        TransferCoding = "transfer_coding",
        /// An `Expect` other than `100-continue`.
        Expectation = "expectation",
        /// A field with a value that HTTP/2 forbids.
        Field = "field",
        /// An answer with two lengths, with a length and a transfer coding, or with a length that is no number.
        AnswerLength = "answer_length",
        /// An answer with a transfer coding other than `chunked`.
        AnswerCoding = "answer_coding",
        /// An answer with a status that no final answer has, or a change of protocol for which the client did not ask.
        AnswerStatus = "answer_status",
    }
}

/// The methods that weir passes on and that are in common use, for the field `Allow` of an answer with 405
/// (RFC 9110 §15.5.6).
pub const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");

impl Refusal {
    /// 400 for a request.
    pub(super) const fn bad(reason: Reason) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason }
    }

    /// 502 for an answer.
    pub(super) const fn gateway(reason: Reason) -> Self {
        Self { status: StatusCode::BAD_GATEWAY, reason }
    }
}
