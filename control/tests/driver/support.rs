//! A directory, a driver over it, and what it serves as text.
//!
//! Every object here is a Service of one pod, and what tells its versions apart is its target port: `web=2` is the Service `web`
//! in version 2.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use watershed_config::snapshot::{EndpointState, Snapshot, Target};
use watershed_control::driver::{Options, Reload, Running, StartError, start};
use watershed_control::state_dir::StateDir;
use watershed_control::status::Status;

/// Far longer than anything takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pod that everything is served by.
pub(crate) const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: pod, labels: {app: all}}
spec: {containers: [{name: main, image: none}]}
status: {podIP: 127.0.0.1}
";

/// Services, one for each `name=version`; a version with `!` is bad.
pub(crate) fn services(list: &str) -> String {
    let mut text = String::new();
    for object in list.split_whitespace() {
        let (name, version) = object.split_once('=').unwrap();
        let version = if version.ends_with('!') { "99999" } else { version };
        write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
             spec:\n  selector: {{app: all}}\n  ports: [{{port: 80, targetPort: {version}}}]\n"
        )
        .unwrap();
    }
    text
}

/// A directory that is not read yet.
pub(crate) struct Site {
    directory: TempDir,
}

impl Site {
    /// Files as `file: services` lines, and the pod.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let site = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(site.path("")).unwrap();
        site.write("pod.yaml", POD);
        for (file, list) in files {
            site.write(file, &services(list));
        }
        site
    }

    /// A path inside the manifests' directory.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.outside("manifests").join(file)
    }

    /// A path beside the manifests' directory.
    pub(crate) fn outside(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Writes in place, as `echo >` does.
    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).unwrap();
    }

    /// Replaces a file by another one, as careful editors do.
    pub(crate) fn replace(&self, file: &str, text: &str) {
        let temporary = self.path(".temporary");
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, self.path(file)).unwrap();
    }

    pub(crate) fn state_dir(&self) -> StateDir {
        StateDir::open(self.outside("state")).unwrap()
    }

    /// Nothing but watching, unless a test wants polling.
    pub(crate) fn options(&self) -> Options {
        Options {
            paths: vec![self.path("")],
            service_listener: Some("127.0.0.1:8000".parse().unwrap()),
            poll_interval: Duration::from_hours(1),
            ..Options::default()
        }
    }

    pub(crate) async fn start(self) -> World {
        let options = self.options();
        self.start_with(options).await
    }

    pub(crate) async fn start_with(self, options: Options) -> World {
        self.try_start(options).await.map_err(|(_, error)| error.to_string()).unwrap()
    }

    pub(crate) async fn try_start(self, options: Options) -> Result<World, (Self, StartError)> {
        let Running { snapshots, status, reload, driver, .. } = match start(options).await {
            Ok(running) => running,
            Err(error) => return Err((self, error)),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(driver.run(async move { drop(stopped.await) }));
        let history = Arc::new(Mutex::new(Vec::new()));
        let recorder = tokio::spawn(record(snapshots.clone(), Arc::clone(&history)));
        Ok(World { site: self, snapshots, status, reload, stop, task, history, recorder })
    }
}

/// A directory and a driver that watches it.
pub(crate) struct World {
    pub(crate) site: Site,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    status: watch::Receiver<Arc<Status>>,
    pub(crate) reload: Reload,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    history: Arc<Mutex<Vec<String>>>,
    recorder: JoinHandle<()>,
}

impl World {
    /// What is served now.
    pub(crate) fn served(&self) -> String {
        serves(&self.snapshots.borrow())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.snapshots.borrow().generation.0
    }

    pub(crate) fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.borrow())
    }

    /// Waits until exactly this is served.
    pub(crate) async fn until(&mut self, expected: &str) {
        let waiting = self.snapshots.wait_for(|snapshot| serves(snapshot) == expected);
        let came = timeout(PATIENCE, waiting).await.is_ok();
        assert!(came, "wanted {expected:?}, serving {:?}, {:#?}", self.served(), self.status());
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn until_status(&mut self, wanted: impl FnMut(&Arc<Status>) -> bool) -> Arc<Status> {
        let waiting = self.status.wait_for(wanted);
        let found = timeout(PATIENCE, waiting).await.ok().map(|status| Arc::clone(&status.unwrap()));
        found.unwrap_or_else(|| panic!("the status stays {:#?}", self.status()))
    }

    /// Makes an edit elsewhere and waits for it, so that everything before it has been seen. `marker` is its new version.
    pub(crate) async fn barrier(&mut self, marker: u16) {
        self.site.replace("zz-barrier.yaml", &services(&format!("zz={marker}")));
        let mark = format!("zz={marker}");
        let waiting = self.snapshots.wait_for(|snapshot| serves(snapshot).contains(&mark));
        assert!(timeout(PATIENCE, waiting).await.is_ok(), "{mark} never came");
    }

    /// Everything that was served since the start, as far as it was seen.
    pub(crate) fn history(&self) -> Vec<String> {
        self.history.lock().unwrap().clone()
    }

    /// Stops the driver and waits until it has written everything.
    pub(crate) async fn stop(self) -> Site {
        drop(self.stop);
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
        self.recorder.abort();
        self.site
    }
}

async fn record(mut snapshots: watch::Receiver<Arc<Snapshot>>, history: Arc<Mutex<Vec<String>>>) {
    loop {
        let served = serves(&snapshots.borrow_and_update());
        history.lock().unwrap().push(served);
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

/// `name=version` of each Service with a ready pod, in order of name.
fn serves(snapshot: &Snapshot) -> String {
    let hosts = snapshot.binds.iter().flat_map(|bind| &bind.listeners).flat_map(|listener| &listener.hosts);
    let mut versions = BTreeMap::new();
    for arm in hosts.flat_map(|host| &host.candidates).flat_map(|candidate| &candidate.rule.arms) {
        let Target::Backend(backend) = &arm.target else { continue };
        for endpoint in backend.endpoints.iter().filter(|endpoint| endpoint.state == EndpointState::Ready) {
            versions.insert(backend.service.name.to_string(), endpoint.id.address.port());
        }
    }
    versions.iter().map(|(name, version)| format!("{name}={version}")).collect::<Vec<_>>().join(" ")
}

/// The text of every problem.
pub(crate) fn problems(status: &Status) -> Vec<String> {
    status.problems.iter().map(ToString::to_string).collect()
}

/// Lets time pass where nothing is to happen, which no event could tell.
pub(crate) async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

pub(crate) fn link(target: impl AsRef<Path>, link: &Path) {
    std::os::unix::fs::symlink(target, link).unwrap();
}
