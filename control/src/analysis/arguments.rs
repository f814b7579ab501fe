//! `{{args.NAME}}` in the texts of a template, `{{service}}` and other facts of a rollout in them and in the arguments' values.

use std::collections::BTreeMap;
use std::sync::Arc;

use watershed_config::model::AnalysisTemplate;

/// What a rollout tells of itself without being asked.
const FACTS: [&str; 4] = ["stable-revision", "canary-revision", "service", "namespace"];

/// Values by name: `args.NAME` and facts.
#[derive(Debug)]
pub(super) struct Arguments(BTreeMap<String, String>);

impl Arguments {
    /// Those of a template: what the rollout says, else the template's default.
    pub(super) fn of(template: &AnalysisTemplate, told: &BTreeMap<Arc<str>, Arc<str>>) -> Self {
        let facts = FACTS.iter().filter_map(|name| Some(((*name).to_owned(), told.get(*name)?.to_string())));
        let facts = Self(facts.collect());
        let mut all = facts.0.clone();
        let defaults = template.args.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        for (name, value) in defaults.chain(told) {
            // A fact that is not known stays as it is written, and is missed where the argument is used.
            let value = facts.fill_in(value).unwrap_or_else(|_| value.to_string());
            all.insert(format!("args.{name}"), value);
        }
        Self(all)
    }

    /// The text with its placeholders filled in, as they are: nothing is escaped, as in Argo. What is filled in is not looked at
    /// again. An error is the name that has no value.
    pub(super) fn fill_in(&self, text: &str) -> Result<String, String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, tail) = after.split_once("}}").ok_or_else(|| after.trim().to_owned())?;
            let name = name.trim();
            filled.push_str(before);
            filled.push_str(self.0.get(name).ok_or_else(|| name.to_owned())?);
            rest = tail;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use watershed_config::model::{Kind, Labels, Meta, ObjectId, ObjectName, Origin};

    use super::*;

    #[test]
    fn arguments_come_from_the_rollout_else_from_the_template() {
        let id = ObjectId { kind: Kind::AnalysisTemplate, name: ObjectName::new("shop", "rate") };
        let meta =
            Meta { id, uid: "".into(), created: None, labels: Labels::default(), origin: Origin::default() };
        let args = vec![
            ("window".into(), Some("1m".into())),
            ("limit".into(), Some("{{canary-revision}}".into())),
            ("job".into(), None),
        ];
        let template = AnalysisTemplate { meta, args, metrics: Vec::new() };
        let told = [
            ("window", "5m"),
            ("pods", "{{service}}-{{ canary-revision }}"),
            ("odd", "{{args.window}}"),
            ("service", "cart"),
            ("canary-revision", "2"),
        ];
        let told = told.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect();
        let arguments = Arguments::of(&template, &told);
        for (text, filled) in [
            ("up", Ok("up")),
            ("rate({{args.window}}) {{ args.pods }} {{service}}", Ok("rate(5m) cart-2 cart")),
            ("{{args.limit}}", Ok("2")),
            ("{{args.service}}", Ok("cart")),
            ("{{args.odd}}", Ok("{{args.window}}")),
            ("{$.a}}", Ok("{$.a}}")),
            ("{{args.job}}", Err("args.job")),
            ("{{namespace}}", Err("namespace")),
            ("a {{ b", Err("b")),
        ] {
            let wanted = filled.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(arguments.fill_in(text), wanted, "{text}");
        }
    }
}
