//! The command line; see `cli.rs`.

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let r = match args[1].as_str() {
        "demo" => scopegate::app::demo::run(scopegate::app::demo::DemoOptions {
            port: if args.len() > 2 { 0 } else { 8443 },
            http_port: if args.len() > 2 { 0 } else { 8080 },
            upstream_port: 0,
            json: args.len() > 2,
        }),
        _ => scopegate::app::serve(std::path::Path::new(&args[args.iter().position(|a| a == "--config").expect("--config") + 1]), true),
    };
    if let Err(f) = r {
        eprintln!("{}", f.message);
        std::process::exit(f.exit.into())
    }
}
