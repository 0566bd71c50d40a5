//! Granting one capability more.

use std::collections::BTreeSet;

use super::{Capability, ChildGrant, Grant, HostPattern, HttpGrant, LlmGrant, Pattern};
use crate::Error;

impl Grant {
    /// Widens the grant by one capability that `request` asks for. What a capability does not say comes from the
    /// request: the tokens of a model, the secrets that a host is sent. Returns what else the grant allows from now
    /// on, for the operator to read: methods count for all hosts, tokens for all roles, and children for all faculties.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the request does not ask for it, so that granting it would change nothing, and when the
    /// result would not pass [`Grant::check`]. The grant is then as it was.
    pub fn add(&mut self, capability: &Capability, request: &Self) -> Result<Vec<String>, Error> {
        if !request.allows(capability) {
            return Err(Error::Invalid(format!(
                "the manifest does not ask for {capability}, so granting it would change nothing"
            )));
        }
        let mut wider = self.clone();
        let mut also = Vec::new();
        match capability {
            Capability::Llm { role, max_tokens } => {
                let asked = request.llm.as_ref().map_or(0, |llm| llm.max_tokens);
                let tokens = if *max_tokens == 0 { asked } else { *max_tokens };
                also = add_role(&mut wider, role.parse()?, tokens);
            }
            Capability::Ledger(access) => {
                wider.ledger.insert(*access);
            }
            Capability::Memory(access) => {
                wider.memory.insert(*access);
            }
            Capability::Tool(name) => {
                wider.tool.insert(name.parse()?);
            }
            Capability::Interpreter(name) => {
                wider.interpreter.insert(name.parse()?);
            }
            Capability::Hook(access) => {
                wider.hook.insert(*access);
            }
            Capability::SpawnChild(faculty) => {
                let asked = request.spawn_child.as_ref().map_or(0, |it| it.max);
                also = add_faculty(&mut wider, faculty.parse()?, asked);
            }
            Capability::Http { method, scheme, host, port } => {
                let host = HostPattern { scheme: Some(scheme.clone()), host: host.clone(), port: Some(*port) };
                also = wider.http.get_or_insert_default().add(method, host, request.http.as_ref());
            }
            Capability::Network(ip) => {
                wider.http.get_or_insert_default().networks.insert((*ip).into());
            }
            Capability::Path(path) if !self.allows(capability) => {
                wider.paths.retain(|granted| !path.covers(granted));
                wider.paths.insert(path.clone());
            }
            Capability::Path(_) | Capability::Interface(_) => {}
        }
        wider.check()?;
        *self = wider;
        Ok(also)
    }
}

fn add_role(grant: &mut Grant, role: Pattern, tokens: u32) -> Vec<String> {
    let llm = grant.llm.get_or_insert_with(|| LlmGrant { roles: BTreeSet::new(), max_tokens: tokens });
    let raised = tokens > llm.max_tokens;
    llm.max_tokens = llm.max_tokens.max(tokens);
    let others = llm.roles.iter().filter(|other| raised && !role.covers(other));
    let also = others.map(|other| format!("llm:{other} ({tokens} tokens)")).collect();
    llm.roles.insert(role);
    also
}

/// How many children there may be comes from the request, for all faculties together.
fn add_faculty(grant: &mut Grant, faculty: Pattern, max: u32) -> Vec<String> {
    let children = grant.spawn_child.get_or_insert_with(|| ChildGrant { faculties: BTreeSet::new(), max });
    let raised = max > children.max;
    children.max = children.max.max(max);
    let others = children.faculties.iter().filter(|other| raised && !faculty.covers(other));
    let also = others.map(|other| format!("spawn-child:{other} ({max} children)")).collect();
    children.faculties.insert(faculty);
    also
}

impl HttpGrant {
    fn add(&mut self, method: &str, host: HostPattern, request: Option<&Self>) -> Vec<String> {
        let before = self.clone();
        let requested = request.into_iter().flat_map(|http| &http.secrets);
        let secrets: Vec<_> = requested.filter_map(|secret| secret.narrowed(&host)).collect();
        self.hosts.insert(host.clone());
        self.methods.insert(method.to_owned());
        let mut also = Vec::new();
        for pattern in &self.hosts {
            for other in &self.methods {
                let held = before.hosts.contains(pattern) && before.methods.contains(other);
                if !held && (pattern, other.as_str()) != (&host, method) {
                    also.push(format!("http:{other} {pattern}"));
                }
            }
        }
        for secret in secrets {
            if !self.secrets.iter().any(|held| held.covers(&secret)) {
                also.push(format!("the secret '{}' is sent to {}", secret.handle, secret.host));
                self.secrets.insert(secret);
            }
        }
        also
    }
}
