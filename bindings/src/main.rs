//! The `skein` binary.

fn main() -> std::process::ExitCode {
    let config = std::env::args_os().nth(1).unwrap_or_default();
    match skein_bindings::run(config) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_logged() {
                eprintln!("{error}");
            }
            std::process::ExitCode::from(1)
        }
    }
}
