//! The third implementation: numpy, ml_dtypes and gguf-py in a Python that the user has. Nothing needs it; without it, checks
//! list it as not compared.
//!
//! The interpreter runs isolated (`-I`): no module of the current folder is imported, and no variable such as PYTHONPATH is
//! read.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The program that answers; the tests of `numerics` use the same.
const SCRIPT: &str = include_str!("../../../scripts/hold-with-numpy.py");

/// A Python that has the packages, waiting for questions.
#[derive(Debug)]
pub struct Python {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// The versions of its packages, each as `name=version`.
    versions: Vec<String>,
}

impl Python {
    /// Starts the interpreter `program`.
    ///
    /// # Errors
    /// In words, when it does not start or lacks a package.
    pub fn start(program: &Path) -> Result<Python, String> {
        let shown = program.display();
        let child = Command::new(program)
            .args(["-I", "-c", SCRIPT, "serve"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.map_err(|error| format!("{shown} does not start: {error}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = stdout.ok_or_else(|| format!("{shown} printed nothing"))?;
        let mut python = Python { child, stdin, stdout: BufReader::new(stdout), versions: Vec::new() };
        let mut line = String::new();
        let read = python.stdout.read_line(&mut line);
        match (read, line.trim().strip_prefix("ready ")) {
            (Ok(_), Some(versions)) => python.versions = versions.split(' ').map(str::to_owned).collect(),
            _ => return Err(format!("{shown} is not a Python with numpy, ml_dtypes and gguf")),
        }
        Ok(python)
    }

    /// A package and its version, as `package version`.
    pub fn name(&self, package: &str) -> String {
        let version = self.versions.iter().find_map(|entry| entry.strip_prefix(package)?.strip_prefix('='));
        format!("{package} {}", version.unwrap_or("of unknown version"))
    }

    /// Returns `values` in the format `kind`, spelled as the script knows it.
    ///
    /// # Errors
    /// When Python cannot, or is gone.
    pub fn floats(&mut self, kind: &str, values: &[f32]) -> Result<Vec<f32>, String> {
        Ok(floats_of(&self.ask(kind, bytemuck::cast_slice(values))?))
    }

    /// Returns the values of whole blocks of a ggml type.
    ///
    /// # Errors
    /// When gguf-py cannot, or is gone.
    pub fn restore(&mut self, ty: &str, bytes: &[u8]) -> Result<Vec<f32>, String> {
        Ok(floats_of(&self.ask(&format!("restore:{ty}"), bytes)?))
    }

    /// Returns the blocks of a ggml type that `values` are quantized to.
    ///
    /// # Errors
    /// When gguf-py cannot, or is gone.
    pub fn quantize(&mut self, ty: &str, values: &[f32]) -> Result<Vec<u8>, String> {
        self.ask(&format!("quantize:{ty}"), bytemuck::cast_slice(values))
    }

    /// Asks the script one question and returns the bytes of its answer.
    fn ask(&mut self, kind: &str, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let gone = |error: std::io::Error| format!("Python is gone: {error}");
        let stdin = self.stdin.as_mut().ok_or("cannot write to Python")?;
        writeln!(stdin, "{kind} {}", bytes.len()).map_err(gone)?;
        stdin.write_all(bytes).and_then(|()| stdin.flush()).map_err(gone)?;
        let mut line = String::new();
        self.stdout.read_line(&mut line).map_err(gone)?;
        let line = line.trim();
        match line.parse::<usize>() {
            Ok(n) => {
                let mut answer = Vec::new();
                (&mut self.stdout).take(n as u64).read_to_end(&mut answer).map_err(gone)?;
                if answer.len() == n {
                    Ok(answer)
                } else {
                    Err(format!("Python ended {} bytes early", n - answer.len()))
                }
            }
            Err(_) => Err(if line.is_empty() { "Python ended".into() } else { line.to_owned() }),
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // The interpreter ends when its input does. If it has ended already, there is nothing to wait for.
        self.stdin = None;
        drop(self.child.wait());
    }
}

fn floats_of(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}
