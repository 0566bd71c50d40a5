//! A plugin's own grant: requested ∩ granted ∩ ceiling, and which of the three refused.

use crate::{
    Denial, Gate, Unlock,
    grant::{Capability, Grant, SecretGrant},
    id::PluginName,
    limits::Limits,
};

/// What a plugin may do. Immutable; a store belongs to one.
#[derive(Clone, Debug)]
pub struct Authority {
    plugin: PluginName,
    requested: Grant,
    granted: Grant,
    ceiling: Grant,
    effective: Grant,
    limits: Limits,
    /// Whether the work that it acts for holds it to less than its own grant.
    capped: bool,
}

impl Authority {
    /// Puts together what the manifest requests, what the operator granted and how far the tenant may go.
    ///
    /// Limits: what the operator granted, or the defaults where the operator is silent; no higher than the manifest's
    /// where it speaks; no higher than the ceiling.
    #[must_use]
    pub fn new(plugin: PluginName, requested: Grant, granted: Grant, ceiling: Grant) -> Self {
        let effective = requested.meet(&granted).meet(&ceiling);
        let allowed = granted.limits.or(Limits::default());
        let limits =
            requested.limits.or(Limits::unlimited()).meet(allowed).meet(ceiling.limits.or(Limits::unlimited()));
        Self { plugin, requested, granted, ceiling, effective, limits, capped: false }
    }

    /// The plugin.
    #[must_use]
    pub fn plugin(&self) -> &PluginName {
        &self.plugin
    }

    /// What it may do.
    #[must_use]
    pub fn effective(&self) -> &Grant {
        &self.effective
    }

    /// What it asked for.
    #[must_use]
    pub fn requested(&self) -> &Grant {
        &self.requested
    }

    /// The limits of its calls.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The same authority within lower limits: those of an interpreter that runs its code, or a shorter time.
    #[must_use]
    pub fn bounded(&self, limits: &Limits) -> Self {
        Self { limits: self.limits.meet(*limits), ..self.clone() }
    }

    /// The same authority, holding no more than `cap`.
    #[must_use]
    pub fn capped(&self, cap: &Grant) -> Self {
        let effective = self.effective.meet(cap);
        let limits = self.limits.meet(cap.limits.or(Limits::unlimited()));
        Self { effective, limits, capped: true, ..self.clone() }
    }

    /// The secrets that a request to this destination carries.
    pub fn secrets_for(&self, scheme: &str, host: &str, port: u16) -> impl Iterator<Item = &SecretGrant> {
        let secrets = self.effective.http.as_ref().map(|http| &http.secrets);
        let named = secrets.into_iter().flatten().filter(|secret| secret.handle != "*");
        named.filter(move |secret| secret.host.matches(scheme, host, port))
    }

    /// Checks one use.
    ///
    /// # Errors
    /// A [`Denial`] that names the first gate that refuses: manifest, grant, ceiling.
    pub fn check(&self, capability: &Capability) -> Result<(), Denial> {
        if self.effective.allows(capability) { Ok(()) } else { Err(self.denial(capability)) }
    }

    /// The denial of a capability that is not allowed.
    #[must_use]
    pub fn denial(&self, capability: &Capability) -> Denial {
        let gate = if matches!(capability, Capability::Interface(_)) {
            Gate::Policy
        } else if !self.requested.allows(capability) {
            Gate::Manifest
        } else if self.capped && self.granted.allows(capability) && self.ceiling.allows(capability) {
            Gate::Principal
        } else if !self.granted.allows(capability) || self.ceiling.allows(capability) {
            Gate::Grant
        } else {
            Gate::Ceiling
        };
        let (unlock, command) = match gate {
            Gate::Grant => (
                Unlock::AskOperator,
                typed(capability).map(|it| format!("animus plugin grant {} --allow {it}", self.plugin)),
            ),
            Gate::Ceiling => (
                Unlock::AskOperator,
                typed(capability).map(|it| format!("raise [ceiling] in animus.toml to allow {it}")),
            ),
            _ if self.would_pass_smaller(capability) => (Unlock::AskForLess, None),
            _ => (Unlock::Nothing, None),
        };
        Denial { who: self.plugin.to_string(), capability: capability.to_string(), gate, unlock, reason: None, command }
    }

    fn would_pass_smaller(&self, capability: &Capability) -> bool {
        match capability {
            Capability::Llm { role, .. } => {
                self.effective.allows(&Capability::Llm { role: role.clone(), max_tokens: 1 })
            }
            _ => false,
        }
    }
}

/// What stands behind `--allow`, quoted for a shell. Names come from guests, so that a text which does not read back
/// as the very same capability is not put into anybody's hands.
fn typed(capability: &Capability) -> Option<String> {
    // Of a model only the role: the request says how many tokens.
    let typed = match capability {
        Capability::Llm { role, .. } => Capability::Llm { role: role.clone(), max_tokens: 0 },
        other => other.clone(),
    };
    let text = typed.to_string();
    (text.parse().as_ref() == Ok(&typed)).then(|| format!("'{}'", text.replace('\'', "'\\''")))
}
