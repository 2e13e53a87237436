//! Compiles the one C++ file of this crate.

fn main() {
    println!("cargo:rerun-if-changed=src/guard.cpp");
    cc::Build::new().cpp(true).std("c++17").warnings(true).file("src/guard.cpp").compile("assay_guard");
}
