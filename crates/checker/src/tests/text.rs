//! Histories as text: `c1 put k X [10..20] ok @5`, `c2 get k [30..40] X @5` (`-` for nothing), `c2 del k [50..60] there @6` (or
//! `gone`), and `failed` or `unknown` in place of what came of it.

use crate::{Call, History, Operation, Outcome, Reply};

pub(super) fn parse(text: &str) -> History {
    let mut history = History::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        parse_line(&mut history, line).unwrap_or_else(|| panic!("no history: {line}"));
    }
    history
}

fn parse_line(history: &mut History, line: &str) -> Option<()> {
    let mut words = line.split_whitespace();
    let client = words.next()?.strip_prefix('c')?.parse().ok()?;
    let kind = words.next()?;
    let key = words.next()?.to_string();
    let call = match kind {
        "put" => Call::Put(words.next()?.to_string().into()),
        "del" => Call::Delete,
        "get" => Call::Get,
        _ => return None,
    };
    let (called_at, returned_at) = words.next()?.strip_prefix('[')?.strip_suffix(']')?.split_once("..")?;
    let id = history.call(client, key, call, called_at.parse().ok()?);
    let came_to = words.next()?;
    if returned_at.is_empty() {
        return (came_to == "unknown").then_some(());
    }
    let returned_at = returned_at.parse().ok()?;
    let slot = words.next().map(|slot| slot.strip_prefix('@').unwrap().parse().unwrap());
    match (kind, came_to) {
        (_, "failed") => history.failed(id, returned_at),
        (_, "unknown") => history.unknown(id, returned_at),
        ("put", "ok") => history.ok(id, Reply::Put, slot, returned_at),
        ("del", "there" | "gone") => {
            history.ok(id, Reply::Deleted { existed: came_to == "there" }, slot, returned_at);
        }
        ("get", "-") => history.ok(id, Reply::Found(None), slot, returned_at),
        ("get", value) => history.ok(id, Reply::Found(Some(value.to_string().into())), slot, returned_at),
        _ => return None,
    }
    Some(())
}

pub(super) fn print(history: &History) -> String {
    history.operations().iter().map(|operation| print_line(operation) + "\n").collect()
}

fn print_line(operation: &Operation) -> String {
    let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
    let key = text(&operation.key);
    let call = match &operation.call {
        Call::Put(value) => format!("put {key} {}", text(value)),
        Call::Delete => format!("del {key}"),
        Call::Get => format!("get {key}"),
    };
    let came_to = match &operation.outcome {
        Outcome::Failed => "failed".to_string(),
        Outcome::Unknown => "unknown".to_string(),
        Outcome::Ok { reply: Reply::Put, .. } => "ok".to_string(),
        Outcome::Ok { reply: Reply::Deleted { existed: true }, .. } => "there".to_string(),
        Outcome::Ok { reply: Reply::Deleted { existed: false }, .. } => "gone".to_string(),
        Outcome::Ok { reply: Reply::Found(value), .. } => value.as_ref().map_or("-".to_string(), text),
    };
    let slot = operation.slot().map_or_else(String::new, |slot| format!(" @{slot}"));
    let returned_at = operation.returned_at.map_or_else(String::new, |at| at.to_string());
    format!("c{} {call} [{}..{returned_at}] {came_to}{slot}", operation.client, operation.called_at)
}
