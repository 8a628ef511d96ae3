//! The project's own commands.

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first() {
        Some((command, rest)) if command == "sim" => {
            if let Err(what) = sim::cli::run_arguments(rest) {
                eprintln!("{what}");
                std::process::exit(1);
            }
        }
        _ => eprintln!("usage: cargo xtask sim --help"),
    }
}
