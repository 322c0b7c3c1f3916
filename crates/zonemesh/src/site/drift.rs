//! Whether the file of the configuration still says what runs.
//!
//! A file that was edited and not read again is a surprise for the next start, which may be a power cut; one that was broken
//! meanwhile is another. It is looked at when somebody asks, and nothing is done about it.

use std::time::Duration;

use super::live::Live;
use super::reload::{changes, needs_restart};
use crate::config::{self, Config};

/// A disk that hangs must not keep a status waiting.
const PATIENCE: Duration = Duration::from_secs(1);

/// How the file and what runs differ.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Drift {
    /// They do not, or there is no file.
    None,
    /// It cannot be loaded as it is now.
    Broken(String),
    /// It says something else, or nobody knows what it says.
    Differs(String),
}

impl Drift {
    /// Looks at the file.
    pub(super) async fn of(live: &Live) -> Self {
        let Some(path) = live.config_path.clone() else {
            return Self::None;
        };
        let shown = path.display().to_string();
        let read = tokio::task::spawn_blocking(move || config::load(&path));
        let mut file = match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(Ok(file))) => file,
            Ok(Ok(Err(faults))) => {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                return Self::Broken(format!(
                    "the file was changed since it was read, and the next start would not take it: {}",
                    faults.join("; ")
                ));
            }
            Ok(Err(_)) | Err(_) => {
                return Self::Differs(format!(
                    "{shown} could not be read within {} s, so nobody knows what it says now",
                    PATIENCE.as_secs()
                ));
            }
        };
        // The command line may say otherwise than the file.
        file.site.data_dir.clone_from(&live.data_dir);
        let mut what = unread(&live.config.load(), file.clone());
        what.extend(needs_restart(&live.config_at_start, &file));
        match what.is_empty() {
            true => Self::None,
            false => Self::Differs(format!("{shown}: {}", what.join("; "))),
        }
    }
}

/// What is in the file and was not read; what waits for a start is told apart.
fn unread(running: &Config, mut file: Config) -> Vec<String> {
    // A reload leaves sockets, and the addresses that go with them, as they were.
    if file.listen != running.listen {
        let certificate = file.listen.certificate.take();
        file.listen = config::Listen {
            certificate,
            ..running.listen.clone()
        };
        file.site.addresses.clone_from(&running.site.addresses);
    }
    if file == *running {
        return Vec::new();
    }
    let mut what = Vec::new();
    changes(running, &file, &mut what);
    if what.is_empty() {
        what.push("settings changed".to_owned());
    }
    what.push("the file was not read since".to_owned());
    what
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        let text = format!(
            "{more}\n[site]\nname = \"site-a\"\naddresses = [\"127.0.0.1\"]\ndata-dir = \"data\"\n"
        );
        config::parse(&text, "/etc/zonemesh.toml".as_ref()).unwrap()
    }

    #[test]
    fn a_comment_is_no_difference_and_every_setting_is_one() {
        let running = config("");
        assert_eq!(unread(&running, config("# new")), [""; 0]);
        let what = unread(&running, config("nsid = \"one\""));
        assert_eq!(what, ["settings changed", "the file was not read since"]);
    }

    #[test]
    fn a_reload_that_leaves_the_sockets_where_they_are_has_read_the_file() {
        let old = "[listen]\ndns = [\"127.0.0.1:5300\"]\n";
        let running = config(old);
        let file = config(&old.replace("5300", "5301"));
        assert_eq!(unread(&running, file.clone()), [""; 0]);
        assert_eq!(needs_restart(&running, &file).len(), 1);
    }
}
