//! The part of `--help` that every daemon shares: an example, where settings come from, and every tuning key.

use std::fmt::Write;

use synod_protocol::tuning::Tuning;

use crate::arguments::Kind;
use crate::logging::READY;

/// What `--help` says behind the flags.
pub(crate) fn after(kind: Kind) -> String {
    let name = kind.name();
    let data_dir = match kind {
        Kind::Acceptor => " --data-dir /var/lib/synod/a1",
        Kind::Proposer | Kind::Learner => "",
    };
    let mut text = format!(
        "Example:\n  synod-{name} --cluster deploy/local.toml --id 1{data_dir}\n\n\
         Settings come from the flag, then the environment, then the cluster file. Every tuning key\n\
         can be set by --set KEY=VALUE, by the variable SYNOD_<KEY> in capitals\n\
         (SYNOD_HEARTBEAT_MS=20), or under [tuning] in the file. Keys that don't exist are refused\n\
         everywhere. Quorums and [limits] are fixed when the cluster is formed: the file alone sets them.\n\n\
         SIGTERM and SIGINT stop the process cleanly. Exit codes: 0 stopped as asked, 1 failed,\n\
         2 started wrongly. Log lines go to standard error; \"{READY}\" says that it runs.\n\n\
         Tuning keys with their defaults (_ms: milliseconds; _bytes: bytes; others: a count):\n"
    );
    for (key, default, explanation) in Tuning::KEYS {
        write!(text, "\n  {key} = {default}").expect("writing to a string can't fail");
        for line in wrapped(explanation.trim(), 92) {
            write!(text, "\n      {line}").expect("writing to a string can't fail");
        }
    }
    text
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("it starts with one");
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(word.to_string());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
