//! `animus.toml`: the operator's own in `$ANIMUS_HOME`, and a project's over it.
//!
//! A project's file comes with its repository, and so from strangers. It chooses among what the operator allows: it can
//! lower budgets and the ceiling, never raise them, and it cannot say where requests with the operator's keys go.

mod hooks;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use animus_core::{
    budget::Allowance,
    grant::Grant,
    id::PluginName,
    skill::{Policy, Rules},
    text,
};
use animus_llm::LlmConfig;
use serde::{Deserialize, de::DeserializeOwned};
use toml::{Table, Value};

use crate::{
    fault::{During as _, Fault, Result},
    telemetry::Settings,
};

/// The name of the file.
pub(crate) const FILE: &str = "animus.toml";

/// What the files say, put together.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// `[llm]`: models by role, vendors, prices.
    pub(crate) llm: LlmConfig,
    /// `[budget]`: what one run may spend.
    pub(crate) budget: Budget,
    /// `[run]`: defaults of `animus run`.
    pub(crate) run: Run,
    /// `[skills]`: what agents may do with skills.
    pub(crate) skills: Skills,
    /// `[hooks]`: how hooks are run.
    pub(crate) hooks: hooks::Hooks,
    /// `[serve]`: how `animus serve` works; the operator's own file only.
    pub(crate) serve: Serve,
    /// `[telemetry]`: what this host tells of itself, and whom. Only the operator's file may hold it.
    pub(crate) telemetry: Settings,
    /// `[store]`: where everything is kept.
    pub(crate) store: Store,
    /// `[ceiling]`: the most that any plugin may be granted; everything when there is no such section.
    pub(crate) ceiling: Option<Grant>,
}

/// What one run may spend; no limit of a kind that is not named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Budget {
    /// Tokens, read and written.
    pub(crate) tokens: Option<u64>,
    /// US dollars.
    pub(crate) usd: Option<Usd>,
}

impl Budget {
    /// The same in the units of the accounts.
    pub(crate) fn allowance(self) -> Allowance {
        Allowance { tokens: self.tokens, microusd: self.usd.map(|usd| usd.0) }
    }

    fn lower(self, other: Self) -> Self {
        Self { tokens: lower(self.tokens, other.tokens), usd: lower(self.usd, other.usd) }
    }
}

/// How `animus serve` works.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Serve {
    /// Where the HTTP interface listens; `127.0.0.1:8420` when there is no such key.
    pub(crate) bind: Option<SocketAddr>,
    /// At most so many foci at once, 1 to 1,024; 4 when there is no such key.
    pub(crate) max_concurrent: Option<u32>,
    /// How long a lease lasts without being renewed, in milliseconds, 1,000 to 3,600,000; 15,000 when there is no such key.
    pub(crate) lease_ms: Option<u64>,
    /// How long what runs may go on when the server stops, in milliseconds; 30,000 when there is no such key.
    pub(crate) grace_ms: Option<u64>,
    /// The file with the token that requests carry; made when it is missing.
    pub(crate) token_file: Option<PathBuf>,
    /// Names by which clients reach the server, beside addresses and `localhost`.
    pub(crate) hosts: Vec<String>,
    /// At most so many connections at once, 1 to 65,536; 256 when there is no such key.
    pub(crate) max_connections: Option<u32>,
    /// What all work of the server together may spend in one day, by UTC.
    pub(crate) day: Budget,
}

impl Serve {
    /// How long a lease lasts.
    pub(crate) fn lease_ms(&self) -> u64 {
        self.lease_ms.unwrap_or(animus_agent::LEASE_MS)
    }

    fn check(&self) -> Result<(), String> {
        let wrong = |why: &str| Err(format!("[serve] {why}"));
        if self.max_concurrent.is_some_and(|n| !(1..=1_024).contains(&n)) {
            return wrong("max_concurrent is 1 to 1024");
        }
        if self.lease_ms.is_some_and(|ms| !(1_000..=3_600_000).contains(&ms)) {
            return wrong("lease_ms is 1000 to 3600000");
        }
        if self.grace_ms.is_some_and(|ms| ms > 86_400_000) {
            return wrong("grace_ms is at most 86400000, a day");
        }
        if self.max_connections.is_some_and(|n| !(1..=65_536).contains(&n)) {
            return wrong("max_connections is 1 to 65536");
        }
        Ok(())
    }
}

/// Defaults of `animus run`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Run {
    /// The faculty; `assistant` when none is named.
    pub(crate) faculty: Option<String>,
    /// The role of the model; `default` when none is named.
    pub(crate) model: Option<String>,
    /// At most so many model calls.
    pub(crate) max_turns: Option<u32>,
}

/// Where everything is kept. An operator's matter: a project that chose the store would choose who reads it.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Store {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`; a file in the home folder when there is no such key.
    pub(crate) url: Option<String>,
}

impl fmt::Debug for Store {
    /// The URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("url", &self.url.as_ref().map(|_| "…")).finish()
    }
}

/// What agents may do with skills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Skills {
    /// What happens to a skill that an agent makes: `auto`, `ask` (the default) or `never`.
    pub(crate) create: Option<Policy>,
    /// The most skills that activate themselves in one run; 3 when there is no such key.
    pub(crate) max_auto: Option<usize>,
    /// The most tokens of all active skills' prompts; 8,000 when there is no such key.
    pub(crate) max_prompt_tokens: Option<u64>,
}

impl Skills {
    /// The same with the defaults.
    pub(crate) fn rules(self) -> Rules {
        let rules = Rules::default();
        Rules {
            create: self.create.unwrap_or(rules.create),
            max_auto: self.max_auto.unwrap_or(rules.max_auto),
            max_prompt_tokens: self.max_prompt_tokens.unwrap_or(rules.max_prompt_tokens),
        }
    }

    /// What both allow; where the operator is silent, the default is the operator's word.
    fn lower(self, project: Self) -> Self {
        let mine = self.rules();
        Self {
            create: Some(mine.create.max(project.create.unwrap_or(mine.create))),
            max_auto: lower(Some(mine.max_auto), project.max_auto),
            max_prompt_tokens: lower(Some(mine.max_prompt_tokens), project.max_prompt_tokens),
        }
    }
}

/// An amount of US dollars, kept in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Usd(pub(crate) u64);

impl TryFrom<f64> for Usd {
    type Error = String;
    fn try_from(usd: f64) -> Result<Self, String> {
        if !(0.0..=1e9).contains(&usd) {
            return Err(format!("{usd} is not an amount of US dollars"));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10^15 was just checked")]
        Ok(Self((usd * 1e6).round() as u64))
    }
}

impl std::str::FromStr for Usd {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        s.parse::<f64>().map_err(|e| e.to_string())?.try_into()
    }
}

fn lower<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Config {
    /// Reads the operator's file and that of the project around `folder`; either may be absent.
    pub(crate) fn load(home: &Path, folder: &Path) -> Result<Self> {
        let operator = home.join(FILE);
        let project = project_file(folder, &operator)?;
        let base = read(&operator)?.unwrap_or_default();
        let over = match &project {
            Some(path) => read(path)?.unwrap_or_default(),
            None => Table::new(),
        };
        Self::combine(base, over).map_err(|e| match &project {
            Some(path) => Fault::invalid(format!("{}: {e}", path.display())),
            None => Fault::invalid(format!("{}: {e}", operator.display())),
        })
    }

    /// Reads the operator's file alone: for what no project has a say in.
    pub(crate) fn of_operator(home: &Path) -> Result<Self> {
        let path = home.join(FILE);
        let table = read(&path)?.unwrap_or_default();
        table.try_into().map_err(|e| Fault::invalid(format!("{}: {e}", path.display())))
    }

    /// Both tables were checked by themselves.
    fn combine(base: Table, over: Table) -> Result<Self, String> {
        let [mine, theirs] = [&base, &over].map(|table| table.clone().try_into::<Self>().map_err(|e| e.to_string()));
        let (mine, theirs) = (mine?, theirs?);
        if !theirs.llm.providers.is_empty() {
            return Err(format!(
                "[llm.providers] says where your keys go, so a project cannot set it; move it to {FILE} in the home \
                 folder of animus"
            ));
        }
        if theirs.serve != Serve::default() {
            return Err(format!(
                "[serve] says who may reach this machine, so a project cannot set it; move it to {FILE} in the home folder \
                 of animus"
            ));
        }
        mine.serve.check()?;
        if theirs.telemetry != Settings::default() {
            return Err(format!(
                "[telemetry] says where data of yours goes, so a project cannot set it; move it to {FILE} in the home \
                 folder of animus"
            ));
        }
        if theirs.store != Store::default() {
            return Err(format!(
                "[store] says where everything is kept, so a project cannot set it; move it to {FILE} in the home folder \
                 of animus"
            ));
        }
        let mut all: Self = merge(base, over).try_into().map_err(|e: toml::de::Error| e.to_string())?;
        all.budget = mine.budget.lower(theirs.budget);
        all.skills = mine.skills.lower(theirs.skills);
        all.hooks = mine.hooks.stricter(theirs.hooks)?;
        all.run.max_turns = lower(mine.run.max_turns, theirs.run.max_turns);
        all.ceiling = match (mine.ceiling, theirs.ceiling) {
            (Some(a), Some(b)) => Some(a.meet(&b)),
            (a, b) => a.or(b),
        };
        Ok(all)
    }

    /// What the operator's own file sets of the configuration of hook plugins. A project's is not asked.
    pub(crate) fn hook_configs(home: &Path) -> Result<BTreeMap<PluginName, BTreeMap<String, String>>> {
        let path = home.join(FILE);
        let Some(table) = read(&path)? else { return Ok(BTreeMap::new()) };
        let config: Self = table.try_into().during(|| format!("read {}", path.display()))?;
        Ok(config.hooks.configs())
    }

    /// The most that any plugin may be granted.
    pub(crate) fn ceiling(&self) -> Grant {
        self.ceiling.clone().unwrap_or_else(Grant::everything)
    }
}

/// What the operator's file says of telemetry, which begins before anything else.
pub(crate) fn telemetry(home: &Path) -> Result<Settings> {
    let Some(table) = read(&home.join(FILE))? else { return Ok(Settings::default()) };
    let config: Config = table.try_into().during(|| format!("read {FILE}"))?;
    Ok(config.telemetry)
}

/// The nearest `animus.toml` at or above `folder` that is not the operator's own.
pub(crate) fn project_file(folder: &Path, operator: &Path) -> Result<Option<PathBuf>> {
    let folder = folder.canonicalize().during(|| format!("find the folder {}", folder.display()))?;
    let operator = operator.canonicalize().ok();
    Ok(folder.ancestors().map(|f| f.join(FILE)).find(|path| path.is_file() && Some(path) != operator.as_ref()))
}

fn read(path: &Path) -> Result<Option<Table>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Fault::failed(format!("could not read {}: {e}", path.display()))),
    };
    let config: Config = parse(&text, &path.display().to_string())?;
    if let Some(ceiling) = &config.ceiling {
        ceiling.check().map_err(|e| Fault::invalid(format!("{}: [ceiling]: {e}", path.display())))?;
    }
    config.hooks.check().map_err(|e| Fault::invalid(format!("{}: {e}", path.display())))?;
    toml::from_str(&text).map(Some).during(|| format!("read {}", path.display()))
}

/// Parses TOML; an error names the place, and the nearest known key for an unknown one.
pub(crate) fn parse<T: DeserializeOwned>(text: &str, name: &str) -> Result<T> {
    toml::from_str(text).map_err(|e: toml::de::Error| {
        let line = e.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
        let at = line.map(|line| format!(":{line}")).unwrap_or_default();
        let fault = Fault::invalid(format!("{name}{at}: {}", e.message()));
        match nearest(e.message()) {
            Some(known) => fault.advise(format!("write '{known}' instead")),
            None => fault,
        }
    })
}

/// The known key that is most like the unknown one, from serde's "unknown field `x`, expected one of `a`, `b`".
fn nearest(message: &str) -> Option<&str> {
    let mut quoted = message.strip_prefix("unknown ")?.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    text::nearest(unknown, quoted)
}

/// `over` wins, table by table and key by key.
pub(crate) fn merge(mut base: Table, over: Table) -> Table {
    for (key, value) in over {
        let merged = match (base.remove(&key), value) {
            (Some(Value::Table(a)), Value::Table(b)) => Value::Table(merge(a, b)),
            (_, value) => value,
        };
        base.insert(key, merged);
    }
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(operator: &str, project: &str) -> Result<Config> {
        let home = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::write(home.path().join(FILE), operator).unwrap();
        fs::write(folder.path().join(FILE), project).unwrap();
        Config::load(home.path(), &below)
    }

    fn message(fault: Fault) -> String {
        format!("{fault:?}")
    }

    #[test]
    fn a_project_chooses_models_key_by_key_over_the_operators() {
        let config = load(
            "[llm.roles]\ndefault = 'anthropic:a'\ncoder = 'anthropic:b'\n[run]\nfaculty = 'mine'\nmodel = 'coder'",
            "[llm.roles]\ncoder = 'ollama:c'\n[run]\nmodel = 'default'",
        )
        .unwrap();
        assert_eq!(config.llm.roles.len(), 2);
        assert_eq!(config.llm.roles["coder"], animus_llm::Candidates::One("ollama:c".into()));
        assert_eq!(config.run.faculty.as_deref(), Some("mine"));
        assert_eq!(config.run.model.as_deref(), Some("default"));
    }

    #[test]
    fn a_project_lowers_budget_turns_and_ceiling_and_never_raises_them() {
        let config = load(
            "[budget]\ntokens = 100\nusd = 0.5\n[run]\nmax_turns = 5\n[ceiling]\ntool = ['fs.*']\nledger = ['read']",
            "[budget]\ntokens = 900\nusd = 0.25\n[run]\nmax_turns = 9\n[ceiling]\ntool = ['*']",
        )
        .unwrap();
        assert_eq!(config.budget.allowance(), Allowance { tokens: Some(100), microusd: Some(250_000) });
        assert_eq!(config.run.max_turns, Some(5));
        let ceiling = config.ceiling();
        assert_eq!(ceiling.tool, ["fs.*".parse().unwrap()].into());
        assert!(ceiling.ledger.is_empty());
    }

    #[test]
    fn a_project_makes_the_rules_of_skills_stricter_and_never_looser() {
        let rules = |operator, project| load(operator, project).unwrap().skills.rules();
        assert_eq!(rules("", ""), Rules::default());
        assert_eq!(rules("", "[skills]\ncreate = 'auto'").create, Policy::Ask);
        assert_eq!(rules("[skills]\ncreate = 'auto'", "").create, Policy::Auto);
        assert_eq!(rules("[skills]\ncreate = 'auto'", "[skills]\ncreate = 'never'").create, Policy::Never);
        assert_eq!(rules("[skills]\nmax_auto = 1", "[skills]\nmax_auto = 9\nmax_prompt_tokens = 5").max_auto, 1);
        assert_eq!(rules("", "[skills]\nmax_prompt_tokens = 5").max_prompt_tokens, 5);
    }

    #[test]
    fn without_a_ceiling_everything_may_be_granted() {
        assert_eq!(load("", "").unwrap().ceiling(), Grant::everything());
        assert_eq!(load("[ceiling]", "").unwrap().ceiling(), Grant::default());
    }

    #[test]
    fn a_project_cannot_send_the_operators_keys_elsewhere() {
        let evil = "[llm.providers.openai]\nbase_url = 'https://evil.example/v1'";
        assert!(message(load("", evil).unwrap_err()).contains("says where your keys go"));
        assert_eq!(load(evil, "").unwrap().llm.providers.len(), 1);
    }

    #[test]
    fn a_project_cannot_have_data_sent_anywhere() {
        for evil in ["endpoint = 'http://evil.example'", "content = true", "logs = false"] {
            let evil = format!("[telemetry]\n{evil}");
            assert!(message(load("", &evil).unwrap_err()).contains("where data of yours goes"), "{evil}");
            load(&evil, "").unwrap();
        }
    }

    #[test]
    fn a_project_cannot_choose_the_store_and_no_debug_text_holds_its_password() {
        let url = "[store]\nurl = 'postgres://ada:hunter2@db.example/animus'";
        let refused = message(load("", url).unwrap_err());
        assert!(refused.contains("says where everything is kept") && !refused.contains("hunter2"), "{refused}");
        let config = load(url, "").unwrap();
        assert_eq!(config.store.url.as_deref(), Some("postgres://ada:hunter2@db.example/animus"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line_and_the_nearest_known_one() {
        for (text, place, known) in [
            ("\n[budgte]\ntokens = 1", "animus.toml:2: unknown field `budgte`", "'budget'"),
            ("[budget]\ntoken = 1", "animus.toml:2: unknown field `token`", "'tokens'"),
            ("[ceiling]\ntools = ['*']", "animus.toml:2: unknown field `tools`", "'tool'"),
            ("[llm]\nrole = {}", "animus.toml:2: unknown field `role`", "'roles'"),
        ] {
            let said = message(load(text, "").unwrap_err());
            assert!(said.contains(place) && said.contains(known), "{said}");
        }
    }

    #[test]
    fn amounts_and_paths_that_make_no_sense_are_refused() {
        assert!(message(load("[budget]\nusd = -1.0", "").unwrap_err()).contains("-1"));
        let relative = "[ceiling]\npaths = [{ host = 'a', guest = '/a', mode = 'ro' }]";
        assert!(message(load(relative, "").unwrap_err()).contains("[ceiling]: host path 'a'"));
    }

    #[test]
    fn what_the_guide_shows_of_models_is_a_configuration() {
        const GUIDE: &str = include_str!("../../../docs/operators-guide.md");
        let section = GUIDE.split("\n## ").find(|section| section.starts_with("Models\n")).unwrap();
        let shown: Vec<_> = section.split("```toml\n").skip(1).map(|part| part.split("```").next().unwrap()).collect();
        assert_eq!(shown.len(), 3);
        let config = load(&shown.concat(), "").unwrap();
        assert_eq!((config.llm.providers.len(), config.llm.prices.len(), config.llm.windows.len()), (3, 1, 1));
        let router = animus_llm::Router::new(config.llm, std::sync::Arc::new(animus_llm::EnvKeys)).unwrap();
        let planner = animus_core::llm::Models::resolve(&router, "critic").unwrap();
        assert_eq!(planner.models, ["anthropic:claude-opus-5", "openai:gpt-4.1"]);
        let defaults = animus_llm::RetryConfig::default();
        assert!(shown[2].contains(&format!("max = {} ", defaults.max)), "the defaults are shown");
        assert!(shown[2].contains(&format!("max_wait_ms = {}", defaults.max_wait_ms)));
    }
}
