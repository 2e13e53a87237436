//! `assay doctor`: can this machine do what assay does?

use crate::advice;
use crate::failure::{Exit, Outcome};
use crate::output::Output;
use crate::python;
use lab::ask::DoctorRequest;
use llama::GgmlCodec;
use record::answer::DoctorAnswer;
use words::Lines;

/// Runs `assay doctor`. A failed check is exit 2 with its hint.
pub fn run(output: &Output) -> Outcome {
    let request = DoctorRequest {
        engine_build: llama::build(),
        available_memory: ::worker::available_memory(),
        python: python::on_path(),
    };
    let mut answer = lab::ask::doctor(&request, &GgmlCodec);
    answer.checks.iter_mut().for_each(|check| check.hint = check.advice.as_ref().map(advice::words));
    output.answer(&answer, || text(&answer))?;
    Ok(if answer.ok { Exit::Done } else { Exit::BadInput })
}

fn text(answer: &DoctorAnswer) -> String {
    let mut out = Lines::new();
    for check in &answer.checks {
        // A check that passes with advice is about something optional.
        let state = match (check.ok, &check.hint) {
            (true, None) => "ok  ",
            (true, Some(_)) => "-   ",
            (false, _) => "FAIL",
        };
        out.line(format_args!("{state}  {}: {}", check.name, check.detail));
        if let Some(hint) = &check.hint {
            out.line(format_args!("hint: {hint}"));
        }
    }
    out.into_string()
}
