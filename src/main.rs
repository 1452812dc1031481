//! Entry: everything is in `holdfast::cli`.

fn main() -> std::process::ExitCode {
    holdfast::cli::main()
}
