//! A hook that refuses tool calls by rules of its configuration. It asks nobody and keeps nothing: how often a tool was
//! called, the host says.

use animus_sdk::{
    config,
    hook::{Args, Hook, ToolCall, Verdict},
    prelude::*,
};
use regex_automata::{hybrid::regex::Regex, util::syntax};

/// The most rules.
const MOST: usize = 256;

struct Guard;

/// What is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// The tools, a regular expression for the whole name.
    tool: String,
    /// Only with arguments in which this regular expression is found; they are matched as JSON text.
    args: Option<String>,
    /// At most so many calls of one tool in the last 60 seconds; without this and the next one every call is refused.
    per_minute: Option<u32>,
    /// At most so many calls of one tool in one run.
    per_run: Option<u32>,
    /// What the caller is told.
    reason: Option<String>,
}

impl Hook for Guard {
    fn before_tool_call(call: ToolCall) -> Result<Verdict<Args>> {
        let Some(text) = config::get("rules")? else { return Ok(Verdict::Continue) };
        let rules: Vec<Rule> = serde_json::from_str(&text).map_err(Error::invalid).context("the rules")?;
        if rules.len() > MOST {
            return Err(Error::invalid(format!("there are {} rules; at most {MOST} are taken", rules.len())));
        }
        let args = Value::Object(call.args.clone()).to_string();
        for rule in &rules {
            if let Some(reason) = rule.refuses(&call, &args)? {
                return Ok(Verdict::Block(reason));
            }
        }
        Ok(Verdict::Continue)
    }
}

impl Rule {
    /// Why it refuses the call, if it does.
    fn refuses(&self, call: &ToolCall, args: &str) -> Result<Option<String>> {
        let whole = format!("^(?:{})$", self.tool);
        if !found(&whole, &call.tool)? {
            return Ok(None);
        }
        if let Some(pattern) = &self.args
            && !found(pattern, args)?
        {
            return Ok(None);
        }
        let limits = [(self.per_minute, call.calls_last_minute, "a minute"), (self.per_run, call.calls, "a run")];
        let default = match (self.per_minute, self.per_run) {
            (None, None) => Some(format!("a rule refuses {}", call.tool)),
            _ => limits.into_iter().find_map(|(most, calls, of)| {
                let most = most.filter(|most| calls >= *most)?;
                Some(format!("{} may be called {most} times {of}", call.tool))
            }),
        };
        Ok(default.map(|default| self.reason.clone().unwrap_or(default)))
    }
}

fn found(pattern: &str, text: &str) -> Result<bool> {
    // Classes and word boundaries are those of ASCII, which is what names and JSON are told apart by.
    let built = Regex::builder().syntax(syntax::Config::new().unicode(false).utf8(false)).build(pattern);
    let regex = built.map_err(|e| Error::invalid(format!("the rule's pattern '{pattern}': {e}")))?;
    let mut cache = regex.create_cache();
    Ok(regex.is_match(&mut cache, text))
}

export_hook!(Guard);

#[cfg(test)]
mod tests {
    use animus_sdk::testing::FakeHost;

    use super::*;

    fn ask(rules: &str, call: ToolCall) -> Result<Verdict<Args>> {
        let _host = FakeHost::new().config("rules", rules).start();
        Guard::before_tool_call(call)
    }

    fn refused(rules: &str, call: ToolCall) -> Option<String> {
        match ask(rules, call).unwrap() {
            Verdict::Block(reason) => Some(reason),
            Verdict::Continue => None,
            Verdict::Modify(args) => panic!("it changes nothing: {args:?}"),
        }
    }

    fn call(tool: &str, args: Value) -> ToolCall {
        ToolCall::of(tool, args)
    }

    #[test]
    fn without_rules_everything_goes_on() {
        let _host = FakeHost::new().start();
        assert_eq!(Guard::before_tool_call(call("fs.write_file", json!({}))), Ok(Verdict::Continue));
        assert_eq!(refused("[]", call("fs.write_file", json!({}))), None);
    }

    #[test]
    fn a_rule_is_about_the_whole_name_and_any_of_the_arguments() {
        let rules = r#"[{"tool": "fs\\.(write|edit)_file", "args": "\\.env\\b", "reason": "no secrets"}]"#;
        let env = json!({ "path": "a/.env" });
        assert_eq!(refused(rules, call("fs.write_file", env.clone())).as_deref(), Some("no secrets"));
        assert_eq!(refused(rules, call("fs.edit_file", env.clone())).as_deref(), Some("no secrets"));
        assert_eq!(refused(rules, call("fs.write_file", json!({ "path": "environment" }))), None);
        assert_eq!(refused(rules, call("fs.read_file", env.clone())), None);
        assert_eq!(refused(rules, call("xfs.write_file", env.clone())), None);
        let bare = r#"[{"tool": "web\\..*"}]"#;
        assert_eq!(refused(bare, call("web.fetch", json!({}))).as_deref(), Some("a rule refuses web.fetch"));
        // An alternative is not half of the name.
        assert_eq!(refused(r#"[{"tool": "a|b"}]"#, call("b.c", json!({}))), None);
    }

    #[test]
    fn counts_are_refused_from_the_limit_on() {
        let rules = r#"[{"tool": ".*", "per_minute": 2, "per_run": 3}]"#;
        let at = |calls, calls_last_minute| {
            refused(rules, ToolCall { calls, calls_last_minute, ..call("web.fetch", json!({})) })
        };
        assert_eq!(at(1, 1), None);
        assert_eq!(at(2, 0), None);
        assert_eq!(at(2, 2).as_deref(), Some("web.fetch may be called 2 times a minute"));
        assert_eq!(at(3, 0).as_deref(), Some("web.fetch may be called 3 times a run"));
    }

    #[test]
    fn rules_that_do_not_read_are_an_error_and_no_consent() {
        for rules in [
            "no json",
            r#"{"tool": "a"}"#,
            r#"[{"tool": "("}]"#,
            r#"[{"tools": "a"}]"#,
            r#"[{"args": "a"}]"#,
            r#"[{"tool": ".*", "args": "["}]"#,
        ] {
            let answer = ask(rules, call("fs.read_file", json!({})));
            assert!(matches!(answer, Err(Error::Invalid(_))), "{rules}: {answer:?}");
        }
        let many = format!("[{}]", vec![r#"{"tool":"a"}"#; 257].join(","));
        assert!(ask(&many, call("a", json!({}))).is_err());
    }
}
