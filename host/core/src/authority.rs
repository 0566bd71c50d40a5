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
}

impl Authority {
    /// Puts together what the manifest requests, what the operator granted and how far the tenant may go.
    ///
    /// Limits: the manifest's, or the defaults where it is silent; no higher than what the operator granted, or the
    /// defaults where the operator is silent; no higher than the ceiling.
    #[must_use]
    pub fn new(plugin: PluginName, requested: Grant, granted: Grant, ceiling: Grant) -> Self {
        let effective = requested.meet(&granted).meet(&ceiling);
        let limits = requested
            .limits
            .or(Limits::default())
            .meet(granted.limits.or(Limits::default()))
            .meet(ceiling.limits.or(Limits::unlimited()));
        Self { plugin, requested, granted, ceiling, effective, limits }
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

    /// The secrets that a request to this destination carries.
    pub fn secrets_for(&self, scheme: &str, host: &str, port: u16) -> impl Iterator<Item = &SecretGrant> {
        let secrets = self.effective.http.as_ref().map(|http| &http.secrets);
        secrets.into_iter().flatten().filter(move |secret| secret.host.matches(scheme, host, port))
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
        let plugin = &self.plugin;
        let (gate, unlock, command) = if matches!(capability, Capability::Interface(_)) {
            (Gate::Policy, Unlock::Nothing, None)
        } else if !self.requested.allows(capability) {
            (Gate::Manifest, smaller(&self.requested, capability).unwrap_or(Unlock::Nothing), None)
        } else if !self.granted.allows(capability) {
            (
                Gate::Grant,
                Unlock::AskOperator,
                Some(format!("animus plugin grant {plugin} --allow '{}'", short(capability))),
            )
        } else {
            (
                Gate::Ceiling,
                Unlock::AskOperator,
                Some(format!("raise [ceiling] in animus.toml to allow '{}'", short(capability))),
            )
        };
        Denial { who: plugin.to_string(), capability: capability.to_string(), gate, unlock, command }
    }
}

/// The same request with smaller figures, if that would pass.
fn smaller(grant: &Grant, capability: &Capability) -> Option<Unlock> {
    match capability {
        Capability::Llm { role, .. } => {
            let least = Capability::Llm { role: role.clone(), max_tokens: 1 };
            grant.allows(&least).then_some(Unlock::AskForLess)
        }
        _ => None,
    }
}

/// The written form that `--allow` takes back.
fn short(capability: &Capability) -> String {
    match capability {
        Capability::Llm { role, .. } => format!("llm:{role}"),
        other => other.to_string(),
    }
}
