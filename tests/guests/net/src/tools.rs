use fixture::{Answer, Error, Value, failed, text};
use wasip2::http::{
    outgoing_handler::handle,
    types::{ErrorCode, Fields, HeaderError, Method, OutgoingRequest, Scheme},
};

struct Response {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

fn get(url: &str, headers: &[(&str, &str)]) -> Result<Response, Error> {
    let code = |code: ErrorCode| failed(format!("{code:?}"));
    let (scheme, rest) = url.split_once("://").ok_or_else(|| failed("no scheme"))?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, value.as_bytes()).map_err(|error: HeaderError| failed(format!("{error:?}")))?;
    }
    let request = OutgoingRequest::new(fields);
    let refused = |()| failed("the request does not take it");
    request.set_method(&Method::Get).map_err(refused)?;
    request
        .set_scheme(Some(&match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => Scheme::Other(other.to_owned()),
        }))
        .map_err(refused)?;
    request.set_authority(Some(authority)).map_err(refused)?;
    request.set_path_with_query(Some(path)).map_err(refused)?;
    let future = handle(request, None).map_err(code)?;
    future.subscribe().block();
    let response = future.get().ok_or_else(|| failed("not ready"))?.map_err(|()| failed("taken"))?.map_err(code)?;
    let incoming = response.consume().map_err(refused)?;
    let stream = incoming.stream().map_err(refused)?;
    let mut body = Vec::new();
    while let Ok(piece) = stream.blocking_read(1 << 16) {
        body.extend(piece);
    }
    Ok(Response { status: response.status(), headers: response.headers().entries(), body })
}

fn shown(response: &Response) -> String {
    let headers = response.headers.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value)));
    format!("{}\n{}\n{}", response.status, headers.collect::<String>(), String::from_utf8_lossy(&response.body))
}

pub fn fetch(args: &Value) -> Answer {
    get(text(args, "url"), &[]).map(|response| shown(&response))
}

/// Goes wherever it is sent.
pub fn follow(args: &Value) -> Answer {
    let mut url = text(args, "url").to_owned();
    loop {
        let response = get(&url, &[])?;
        let location = response.headers.iter().find(|(name, _)| name == "location");
        match location {
            Some((_, to)) => url = String::from_utf8_lossy(to).into_owned(),
            None => return Ok(shown(&response)),
        }
    }
}

/// Sends a header of its own choice.
pub fn forge(args: &Value) -> Answer {
    get(text(args, "url"), &[(text(args, "header"), "forged")]).map(|response| shown(&response))
}

/// Asks until it is refused, and says how often it was not.
pub fn flood(args: &Value) -> Answer {
    let mut answered = 0;
    while get(text(args, "url"), &[]).is_ok() {
        answered += 1;
    }
    Ok(answered.to_string())
}
