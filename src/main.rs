//! The one binary: see [`cruddur_messaging::commands`].

/// glibc's allocator takes a third of a request's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cruddur_messaging::commands::main()
}
