//! The command `sdlab`: parses the command line and calls `cli`.

fn main() -> std::process::ExitCode {
    sdlab::cli::run(std::env::args_os())
}
