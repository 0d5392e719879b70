//! `doctor`: whether this host and this store are well, and what to do where they are not.

mod fix;
mod host;
mod layers;
mod leftovers;
mod machines;

use anyhow::Result;
use serde::Serialize;

use super::App;
use crate::args;
use crate::failure::Code;
use crate::output::paint::Mark;
use crate::output::{self, Style};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Ok,
    /// It was not, and has been put in order.
    Fixed,
    Warning,
    Bad,
}

/// One check's result. The keys are stable.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    text: String,
    /// What to do, where there is something to do.
    try_next: Option<String>,
    /// What the whole command ends with because of it.
    #[serde(skip)]
    code: Code,
}

impl Finding {
    fn ok(check: &'static str, text: String) -> Finding {
        Finding { check, verdict: Verdict::Ok, text, try_next: None, code: Code::Failed }
    }

    fn fixed(check: &'static str, text: String) -> Finding {
        Finding { verdict: Verdict::Fixed, ..Finding::ok(check, text) }
    }

    fn warning(check: &'static str, text: String, try_next: String) -> Finding {
        let try_next = Some(try_next);
        Finding { check, verdict: Verdict::Warning, text, try_next, code: Code::Failed }
    }

    fn bad(check: &'static str, code: Code, text: String, try_next: Option<String>) -> Finding {
        Finding { check, verdict: Verdict::Bad, text, try_next, code }
    }
}

/// Runs every check and prints what it found; ends with the first bad one's code.
pub fn doctor(app: &App, args: &args::Doctor) -> Result<u8> {
    let mut findings = vec![host::kvm(), host::io_uring()];
    if args.fix {
        findings.extend(fix::fix(&app.root)?);
    }
    match app.store() {
        Ok(store) => {
            findings.push(host::space(store.paths.root()));
            let inventory = leftovers::inventory(&store)?;
            // Nothing can be told by one that is damaged.
            let whole = inventory.verdict == Verdict::Ok;
            findings.push(inventory);
            if whole {
                findings.extend(leftovers::find(&store)?);
                findings.extend(layers::find(&store)?);
                findings.extend(machines::find(&store)?);
            }
        }
        Err(error) => {
            let code = crate::failure::code(&error);
            let next = crate::failure::hint(&error).map(str::to_owned);
            findings.push(Finding::bad("store", code, crate::failure::text(&error), next));
        }
    }
    let bad = findings.iter().find(|finding| finding.verdict == Verdict::Bad);
    let status = bad.map_or(0, |finding| finding.code as u8);
    match app.style {
        Style::Json => output::print_json(&findings)?,
        Style::Names | Style::Table => output::print(&lay_out(&findings, app.quiet))?,
    }
    Ok(status)
}

/// One line for each finding, and one below it for what to do. Quiet: only what is not well.
fn lay_out(findings: &[Finding], quiet: bool) -> String {
    let mut text = String::new();
    for finding in findings.iter().filter(|f| !quiet || f.verdict > Verdict::Ok) {
        let (verdict, mark) = match finding.verdict {
            Verdict::Ok => ("ok     ", Mark::Plain),
            Verdict::Fixed => ("fixed  ", Mark::Good),
            Verdict::Warning => ("warning", Mark::Notable),
            Verdict::Bad => ("bad    ", Mark::Bad),
        };
        let verdict = mark.painted(verdict);
        text += &format!("{verdict}  {}: {}\n", finding.check, finding.text);
        if let Some(next) = &finding.try_next {
            text += &format!("           try: {next}\n");
        }
    }
    text
}
