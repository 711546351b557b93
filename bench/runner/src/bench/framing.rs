//! Finds the end and the body of an HTTP/1.1 response: only what the load generator needs, so that it costs little
//! time.
//!
//! It supports `Content-Length`, chunked bodies and responses without a body. It does no I/O, and is strict.

use std::borrow::Cow;

use anyhow::{Context, Result, ensure};

/// The parse state of a response. Each call gets all bytes received so far; the state remembers the position.
#[derive(Default)]
pub(crate) struct Framing {
    status: u16,
    /// Offset of the body; 0 until the head is complete.
    body: usize,
    form: Form,
    /// For a chunked body, the offset of the next chunk size; otherwise the end of the body.
    next: usize,
}

#[derive(Default, PartialEq, Eq)]
enum Form {
    #[default]
    Sized,
    Chunked,
}

impl Framing {
    /// Whether these bytes complete the response.
    pub(crate) fn is_complete(&mut self, received: &[u8]) -> Result<bool> {
        if self.body == 0 {
            let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(false) };
            self.read_head(&received[..end + 2])?;
            self.body = end + 4;
            self.next += self.body;
        }
        match self.form {
            Form::Sized => Ok(received.len() >= self.next),
            Form::Chunked => self.are_chunks_complete(received),
        }
    }

    fn read_head(&mut self, head: &[u8]) -> Result<()> {
        let status = head.strip_prefix(b"HTTP/1.1 ").and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok());
        self.status = status.and_then(|status| status.parse().ok()).context("this is no answer of HTTP/1.1")?;
        if header(head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            self.form = Form::Chunked;
        } else if let Some(length) = header(head, "content-length").filter(|_| self.status != 304) {
            self.next = length.parse().context("`Content-Length` is not a number")?;
        } else {
            ensure!(matches!(self.status, 204 | 304), "the answer does not say how long it is");
        }
        Ok(())
    }

    fn are_chunks_complete(&mut self, received: &[u8]) -> Result<bool> {
        while let Some((size, data)) = chunk(received, self.next)? {
            if size == 0 {
                // No server here sends trailers.
                return Ok(received.len() >= data + 2);
            }
            if received.len() < data + size + 2 {
                return Ok(false);
            }
            self.next = data + size + 2;
        }
        Ok(false)
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// A header of a complete response.
    pub(crate) fn header<'a>(&self, received: &'a [u8], name: &str) -> Option<&'a str> {
        header(&received[..self.body.saturating_sub(2)], name)
    }

    /// The body of a complete response, without chunk sizes.
    pub(crate) fn body<'a>(&self, received: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        if self.form == Form::Sized {
            return Ok(Cow::Borrowed(&received[self.body..self.next]));
        }
        let (mut body, mut at) = (Vec::with_capacity(received.len() - self.body), self.body);
        while let Some((size, data)) = chunk(received, at)?.filter(|(size, _)| *size > 0) {
            body.extend_from_slice(&received[data..data + size]);
            at = data + size + 2;
        }
        Ok(Cow::Owned(body))
    }
}

/// The size of the chunk at this offset, and the offset of its data; `None` when more bytes are needed.
fn chunk(received: &[u8], at: usize) -> Result<Option<(usize, usize)>> {
    let rest = received.get(at..).unwrap_or_default();
    let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else {
        ensure!(rest.len() < 100, "a chunk does not say how long it is");
        return Ok(None);
    };
    let size = std::str::from_utf8(&rest[..end]).ok().and_then(|line| line.split(';').next());
    let size = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
    Ok(Some((size.context("the size of a chunk is not a number")?, at + end + 2)))
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    head.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let (key, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes ever longer prefixes of the response: it must be complete at its last byte, and not before.
    fn read(answer: &str) -> (u16, String) {
        let mut framing = Framing::default();
        let bytes = answer.as_bytes();
        for end in 0..bytes.len() {
            assert!(!framing.is_complete(&bytes[..end]).unwrap(), "complete after {end} bytes");
        }
        assert!(framing.is_complete(bytes).unwrap());
        (framing.status(), String::from_utf8(framing.body(bytes).unwrap().into_owned()).unwrap())
    }

    #[test]
    fn an_answer_with_a_size_ends_there() {
        assert_eq!(read("HTTP/1.1 200 OK\r\ncontent-Length: 3\r\n\r\nabc"), (200, "abc".to_owned()));
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), (200, String::new()));
    }

    #[test]
    fn an_answer_in_chunks_ends_with_the_empty_one() {
        let answer =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123\r\n4567\r\n0\r\n\r\n";
        assert_eq!(read(answer), (200, "abc0123\r\n4567".to_owned()));
    }

    #[test]
    fn an_answer_without_a_body_ends_with_its_head() {
        let answer = "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 7\r\n\r\n";
        assert_eq!(read(answer), (304, String::new()));
        let mut framing = Framing::default();
        assert!(framing.is_complete(answer.as_bytes()).unwrap());
        assert_eq!(framing.header(answer.as_bytes(), "etag"), Some("\"a\""));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for wrong in [
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        ] {
            assert!(Framing::default().is_complete(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
