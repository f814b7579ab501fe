//! The request that is asked about.

use std::net::IpAddr;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::RequestView;
use crate::headers::{HOST_LENGTH_MAX, split_host, without_user};
use crate::table::Head;

/// Characters that stand for themselves in a query's value.
const QUERY_VALUE: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b':');

/// A request that somebody asks about.
#[derive(Debug, Clone)]
pub struct Question {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    port: u16,
}

impl Question {
    /// A request with this method, URL (`http://` may be left out) and these headers (`NAME: VALUE`). The error says what is
    /// wrong with which of them.
    pub fn new<'a>(
        method: &str,
        url: &str,
        headers: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, String> {
        let method = method.parse().map_err(|_| format!("`{method}` is not an HTTP method"))?;
        let (uri, port) = read_url(url)?;
        let mut all = HeaderMap::new();
        for text in headers {
            let (name, value) = read_header(text)?;
            all.append(name, value);
        }
        if !all.contains_key(HOST)
            && let Some(authority) = uri.authority()
        {
            let host = without_user(authority);
            all.insert(HOST, HeaderValue::try_from(host).map_err(|_| not_a_url(url))?);
        }
        let question = Self { method, uri, headers: all, port };
        if question.named_host(&mut [0; HOST_LENGTH_MAX]).is_none() {
            return Err(
                "the request names no valid host, or several: it would be answered with 400".to_owned()
            );
        }
        Ok(question)
    }

    /// The question that [`Question::to_query`] wrote: `url`, and optionally `method` and any number of `header`.
    pub fn from_query(query: &str) -> Result<Self, String> {
        let (mut method, mut url, mut headers) = ("GET".to_owned(), None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace('+', " ");
            let value = percent_encoding::percent_decode_str(&value).decode_utf8();
            let value = value.map_err(|_| format!("the parameter `{name}` is not UTF-8"))?.into_owned();
            match name {
                "method" => method = value,
                "url" => url = Some(value),
                "header" => headers.push(value),
                _ => return Err(format!("there is no parameter `{name}`: use method, url and header")),
            }
        }
        let url = url.ok_or("the parameter `url` is missing")?;
        Self::new(&method, &url, headers.iter().map(String::as_str))
    }

    /// The question as a query string, to be sent to a running process.
    pub fn to_query(method: &str, url: &str, headers: &[String]) -> String {
        let encode = |text| percent_encoding::utf8_percent_encode(text, QUERY_VALUE).to_string();
        let mut query = format!("method={}&url={}", encode(method), encode(url));
        for header in headers {
            query.push_str("&header=");
            query.push_str(&encode(header));
        }
        query
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The port that is connected to.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The address that is connected to, if the URL says it.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.uri.host()?.trim_matches(['[', ']']).parse().ok()
    }

    /// The host by which it is routed, and the port named with it.
    fn named_host<'b>(&'b self, buffer: &'b mut [u8; HOST_LENGTH_MAX]) -> Option<(&'b str, Option<u16>)> {
        let mut hosts = self.headers.get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(host), None) => split_host(host.to_str().ok()?, buffer),
            _ => None,
        }
    }

    pub(super) fn head<'a>(&'a self, buffer: &'a mut [u8; HOST_LENGTH_MAX]) -> Head<'a> {
        let (host, port) = self.named_host(buffer).unwrap_or_default();
        Head {
            method: &self.method,
            path: self.uri.path(),
            query: self.uri.query(),
            headers: &self.headers,
            host,
            port,
        }
    }

    pub(super) fn view(&self, head: &Head<'_>) -> RequestView {
        RequestView {
            method: self.method.to_string(),
            url: self.uri.to_string(),
            host: head.host.to_owned(),
            port: head.port,
            path: head.path.to_owned(),
            query: head.query.map(str::to_owned),
        }
    }
}

fn not_a_url(url: &str) -> String {
    format!("`{url}` is not a URL: write it like http://hello.example.com:8080/path")
}

/// The URL and the port that it is reached on.
fn read_url(url: &str) -> Result<(Uri, u16), String> {
    let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: Uri = whole.parse().map_err(|_| not_a_url(url))?;
    let own_port = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err(format!("`{url}` is neither http:// nor https://")),
    };
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let port = match authority.rsplit_once(':') {
        Some((_, port)) if !port.contains(']') => port.parse().map_err(|_| not_a_url(url))?,
        _ => own_port,
    };
    if uri.host().is_none_or(str::is_empty) {
        return Err(not_a_url(url));
    }
    Ok((uri, port))
}

fn read_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || format!("`{text}` is not a header: write it like 'x-canary: yes'");
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = name.trim().parse().map_err(|_| wrong())?;
    let value = HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| wrong())?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::Question;

    #[test]
    fn a_question_survives_being_sent() {
        let headers =
            ["x-a: 1 & 2 = 3 + 4 %".to_owned(), "Host: other.example:81".to_owned(), "x-a: ü".to_owned()];
        let url = "http://hello.example:8080/a%2Fb/?q=a+b&r=%26";
        let query = Question::to_query("POST", url, &headers);
        let sent = Question::from_query(&query).unwrap();
        let direct = Question::new("POST", url, headers.iter().map(String::as_str)).unwrap();
        assert_eq!(format!("{sent:?}"), format!("{direct:?}"));
    }

    #[test]
    fn what_is_wrong_with_a_question_is_said() {
        let wrong =
            |method: &str, url: &str, header: Option<&str>| Question::new(method, url, header).unwrap_err();
        assert!(wrong("G T", "http://a/", None).contains("`G T` is not an HTTP method"));
        for url in ["", "http://", "http:///x", "http://a b/", ":80", "http://a:99999/"] {
            assert!(wrong("GET", url, None).contains("is not a URL"), "{url}");
        }
        assert!(wrong("GET", "ftp://a/", None).contains("neither http"));
        for header in ["x", ": x", "x y: z", "x: a\nb"] {
            assert!(wrong("GET", "a", Some(header)).contains("is not a header"), "{header}");
        }
        assert!(wrong("GET", "a", Some("Host: a,b")).contains("no valid host"));
        assert!(Question::new("GET", "a", ["Host: a", "Host: b"]).is_err());
        assert!(Question::from_query("method=GET").unwrap_err().contains("`url` is missing"));
        assert!(Question::from_query("url=a&hedaer=x").unwrap_err().contains("no parameter `hedaer`"));
        assert!(Question::from_query("url=%ff").unwrap_err().contains("not UTF-8"));
    }

    #[test]
    fn scheme_and_path_may_be_left_out_and_the_port_is_the_schemes() {
        for (url, port) in
            [("a", 80), ("http://a", 80), ("https://a/", 443), ("a:8080/x", 8080), ("[::1]:81", 81)]
        {
            assert_eq!(Question::new("GET", url, None).unwrap().port(), port, "{url}");
        }
        assert_eq!(Question::new("GET", "[::1]:81", None).unwrap().ip(), Some("::1".parse().unwrap()));
    }
}
