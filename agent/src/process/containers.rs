//! Names and images of containers, from the files in which their runtimes keep them on the host. No
//! runtime is asked: its socket is a way to root.
//!
//! The files also hold environments with secrets: only the fields below are taken from them, and what
//! was read is overwritten.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent_core::event::{Container, Pod};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::open::{self, Wiped};
use super::printable;

/// LIMIT: bytes of a runtime's file. A longer one is cut and then can't be read: its container has
/// no name.
const MAX_FILE_BYTES: usize = 4 << 20;

/// LIMIT: pods whose folders are looked at, more than the 110 that a kubelet allows many times over.
const MAX_PODS: usize = 4_096;

/// LIMIT: containers that are remembered; beyond it all are looked up again.
const MAX_KEPT: usize = 1_024;

/// LIMIT: bytes kept of a name or an image's reference; the rest of a longer one is cut off.
const MAX_NAME_BYTES: usize = 255;

/// How long a container's names are believed: it may be renamed, and its files may come late.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// Where Docker's daemon keeps a folder for each container.
const DOCKER: &str = "var/lib/docker/containers";

/// Where containerd keeps what it starts: by itself for Kubernetes, within K3s, and for nerdctl.
const CONTAINERD: [&str; 3] = [
    "run/containerd/io.containerd.runtime.v2.task/k8s.io",
    "run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io",
    "run/containerd/io.containerd.runtime.v2.task/default",
];

/// Where CRI-O keeps what it starts.
const CRI_O: [&str; 2] = [
    "run/containers/storage/overlay-containers",
    "var/lib/containers/storage/overlay-containers",
];

/// Where Podman lists its containers, below its storage, by storage driver; those that are removed at
/// their end are in a list of their own.
const PODMAN: [&str; 6] = [
    "overlay-containers/containers.json",
    "overlay-containers/volatile-containers.json",
    "vfs-containers/containers.json",
    "vfs-containers/volatile-containers.json",
    "btrfs-containers/containers.json",
    "btrfs-containers/volatile-containers.json",
];

/// Folders of the kubelet's logs, one for each pod: `NAMESPACE_NAME_UID`.
const POD_LOGS: &str = "var/log/pods";

/// Names of containers.
#[derive(Debug)]
pub(super) struct Containers {
    root: PathBuf,
    kept: BTreeMap<String, (Instant, Container)>,
}

impl Containers {
    /// Of the host whose files are below `root`.
    pub(super) const fn new(root: PathBuf) -> Self {
        Self {
            root,
            kept: BTreeMap::new(),
        }
    }

    /// Adds what the host's files tell of a container; `home` is that of the user whose container it
    /// is, unless it is the host's.
    pub(super) fn complete(&mut self, container: Container, home: Option<&Path>) -> Container {
        let now = Instant::now();
        if let Some((at, kept)) = self.kept.get(&container.id)
            && now.duration_since(*at) < KEPT_FOR
        {
            return kept.clone();
        }
        let id = container.id.clone();
        let completed = self.look_up(container, home);
        if self.kept.len() >= MAX_KEPT {
            self.kept.clear();
        }
        self.kept.insert(id, (now, completed.clone()));
        completed
    }

    fn look_up(&self, mut container: Container, home: Option<&Path>) -> Container {
        let found = match container.runtime.as_str() {
            "docker" => self.docker(&container.id, home),
            "containerd" => self.containerd(&container.id),
            "cri-o" => self.cri_o(&container.id),
            "podman" => self.podman(&container.id, home),
            // The control group's name does not tell.
            "" => self
                .docker(&container.id, home)
                .or_else(|| self.containerd(&container.id))
                .or_else(|| self.cri_o(&container.id))
                .or_else(|| self.podman(&container.id, home)),
            _ => None,
        };
        if let Some(found) = found {
            container.runtime = found.runtime;
            container.name = found.name.or(container.name);
            container.image = found.image;
            container.pod = match (container.pod, found.pod) {
                // Of a static pod the kubelet and its runtime know different ids.
                (Some(pod), Some(found)) => Some(Pod {
                    uid: pod.uid,
                    ..found
                }),
                (pod, found) => pod.or(found),
            };
        }
        if let Some(pod) = &mut container.pod
            && (pod.namespace.is_none() || pod.name.is_none())
            && let Some((namespace, name)) = self.pod(&pod.uid)
        {
            pod.namespace = Some(namespace);
            pod.name = Some(name);
        }
        container
    }

    fn docker(&self, id: &str, home: Option<&Path>) -> Option<Container> {
        let folders = [
            Some(self.root.join(DOCKER)),
            home.map(|home| self.below(home, "docker/containers")),
        ];
        let mut folders = folders.into_iter().flatten();
        let file: DockerFile =
            folders.find_map(|dir| read(&dir.join(id).join("config.v2.json")))?;
        let name = file
            .name
            .as_deref()
            .map(|name| name.trim_start_matches('/'));
        Some(Container {
            runtime: "docker".to_owned(),
            name: name.and_then(word),
            image: file
                .config
                .and_then(|config| config.image.as_deref().and_then(word)),
            ..Container::default()
        })
    }

    fn containerd(&self, id: &str) -> Option<Container> {
        let annotations = self.annotations(&CONTAINERD, &Path::new(id).join("config.json"))?;
        Some(annotations.container("containerd"))
    }

    fn cri_o(&self, id: &str) -> Option<Container> {
        let file = Path::new(id).join("userdata/config.json");
        let annotations = self.annotations(&CRI_O, &file)?;
        // Podman has such files as well.
        let is_of_pod = annotations.pod_name.is_some();
        is_of_pod.then(|| annotations.container("cri-o"))
    }

    fn annotations(&self, folders: &[&str], file: &Path) -> Option<Annotations> {
        let mut paths = folders.iter().map(|dir| self.root.join(dir).join(file));
        paths
            .find_map(|path| read::<RuntimeFile>(&path))?
            .annotations
    }

    fn podman(&self, id: &str, home: Option<&Path>) -> Option<Container> {
        let storage = match home {
            Some(home) => self.below(home, "containers/storage"),
            None => self.root.join("var/lib/containers/storage"),
        };
        let mut lists = PODMAN.iter().map(|list| storage.join(list));
        let listed = lists.find_map(|list| {
            let listed: Vec<Listed> = read(&list)?;
            listed
                .into_iter()
                .find(|listed| listed.id.as_deref() == Some(id))
        })?;
        let metadata = listed.metadata.unwrap_or_default();
        let metadata: ListedMetadata = serde_json::from_str(&metadata).unwrap_or_default();
        Some(Container {
            runtime: "podman".to_owned(),
            name: listed.names.iter().flatten().find_map(|name| word(name)),
            image: metadata.image_name.as_deref().and_then(word),
            ..Container::default()
        })
    }

    /// A folder of a user's own programs' files.
    fn below(&self, home: &Path, name: &str) -> PathBuf {
        let home = home.strip_prefix("/").unwrap_or(home);
        self.root.join(home).join(".local/share").join(name)
    }

    /// Namespace and name of a pod. Neither may hold an underscore.
    fn pod(&self, uid: &str) -> Option<(String, String)> {
        let entries = fs::read_dir(self.root.join(POD_LOGS)).ok()?;
        entries.take(MAX_PODS).flatten().find_map(|entry| {
            let folder = entry.file_name().into_string().ok()?;
            let (namespace, name) = folder
                .strip_suffix(uid)?
                .strip_suffix('_')?
                .split_once('_')?;
            Some((word(namespace)?, word(name)?))
        })
    }
}

/// `config.v2.json` of Docker.
#[derive(Deserialize)]
struct DockerFile {
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "Config")]
    config: Option<DockerConfig>,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "Image")]
    image: Option<String>,
}

/// `config.json` of the OCI runtime specification.
#[derive(Deserialize)]
struct RuntimeFile {
    annotations: Option<Annotations>,
}

/// What containerd's CRI service and CRI-O annotate.
#[derive(Deserialize)]
struct Annotations {
    #[serde(
        rename = "io.kubernetes.cri.container-name",
        alias = "io.kubernetes.container.name"
    )]
    container_name: Option<String>,
    #[serde(
        rename = "io.kubernetes.cri.image-name",
        alias = "io.kubernetes.cri-o.ImageName"
    )]
    image_name: Option<String>,
    #[serde(
        rename = "io.kubernetes.cri.sandbox-name",
        alias = "io.kubernetes.pod.name"
    )]
    pod_name: Option<String>,
    #[serde(
        rename = "io.kubernetes.cri.sandbox-namespace",
        alias = "io.kubernetes.pod.namespace"
    )]
    pod_namespace: Option<String>,
    #[serde(
        rename = "io.kubernetes.cri.sandbox-uid",
        alias = "io.kubernetes.pod.uid"
    )]
    pod_uid: Option<String>,
}

impl Annotations {
    fn container(&self, runtime: &str) -> Container {
        let pod = self.pod_uid.as_deref().and_then(word).map(|uid| Pod {
            uid,
            namespace: self.pod_namespace.as_deref().and_then(word),
            name: self.pod_name.as_deref().and_then(word),
        });
        Container {
            runtime: runtime.to_owned(),
            name: self.container_name.as_deref().and_then(word),
            image: self.image_name.as_deref().and_then(word),
            pod,
            ..Container::default()
        }
    }
}

/// One container in the lists of containers/storage.
#[derive(Deserialize)]
struct Listed {
    id: Option<String>,
    names: Option<Vec<String>>,
    /// JSON in a text.
    metadata: Option<String>,
}

#[derive(Default, Deserialize)]
struct ListedMetadata {
    #[serde(rename = "image-name")]
    image_name: Option<String>,
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let file = open::regular_at(path)?;
    let read = Wiped::read(file, MAX_FILE_BYTES)?;
    serde_json::from_slice(read.bytes()).ok()
}

/// A name that somebody else chose; `None` if it is empty.
fn word(text: &str) -> Option<String> {
    let mut text = printable(text.as_bytes());
    text.truncate(text.floor_char_boundary(MAX_NAME_BYTES));
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "9ec39b91f3d70e1beff50a308f77067065ea6be0d91a3378375056cd4422cf3d";
    const UID: &str = "72f7f152-440c-66ac-9084-e0fc1d8a910c";

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Containers) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir
                .path()
                .join(path.replace("<id>", ID).replace("<uid>", UID));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace("<id>", ID).replace("<uid>", UID)).unwrap();
        }
        let containers = Containers::new(dir.path().to_owned());
        (dir, containers)
    }

    fn of(runtime: &str) -> Container {
        Container {
            runtime: runtime.to_owned(),
            id: ID.to_owned(),
            ..Container::default()
        }
    }

    fn named(runtime: &str, name: &str, image: &str) -> Container {
        Container {
            name: Some(name.to_owned()),
            image: Some(image.to_owned()),
            ..of(runtime)
        }
    }

    fn pod(namespace: &str, name: &str) -> Option<Pod> {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(Pod {
            uid: UID.to_owned(),
            namespace: text(namespace),
            name: text(name),
        })
    }

    #[test]
    fn docker_tells_name_and_image() {
        let file = r#"{"ID":"<id>","Config":{"Env":["KEY=sk-secret"],"Image":"nginx:1.27"},"Name":"/web"}"#;
        let expected = named("docker", "web", "nginx:1.27");
        let (_dir, mut host_wide) =
            host(&[("var/lib/docker/containers/<id>/config.v2.json", file)]);
        assert_eq!(host_wide.complete(of("docker"), None), expected);
        let (_dir, mut unknown) = host(&[("var/lib/docker/containers/<id>/config.v2.json", file)]);
        assert_eq!(unknown.complete(of(""), None), expected);
        let home = Path::new("/home/ana");
        let rootless = "home/ana/.local/share/docker/containers/<id>/config.v2.json";
        let (_dir, mut users) = host(&[(rootless, file)]);
        assert_eq!(users.complete(of("docker"), Some(home)), expected);
    }

    #[test]
    fn podman_tells_those_of_the_host_and_of_users() {
        let list = r#"[{"id":"0","names":["other"]},{"id":"<id>","names":["web"],"image":"d7af","metadata":"{\"image-name\":\"quay.io/httpd:latest\",\"name\":\"web\"}"}]"#;
        let expected = named("podman", "web", "quay.io/httpd:latest");
        let (_dir, mut containers) = host(&[(
            "var/lib/containers/storage/overlay-containers/containers.json",
            list,
        )]);
        assert_eq!(containers.complete(of("podman"), None), expected);
        let path =
            "home/ana/.local/share/containers/storage/overlay-containers/volatile-containers.json";
        let (_dir, mut containers) = host(&[(path, list)]);
        let home = Path::new("/home/ana");
        assert_eq!(containers.complete(of("podman"), Some(home)), expected);
        let (_dir, mut containers) = host(&[(path, list)]);
        assert_eq!(containers.complete(of("podman"), None), of("podman"));
    }

    #[test]
    fn containerd_tells_container_and_pod() {
        let file = r#"{"process":{"env":["KEY=sk-secret"]},"annotations":{"io.kubernetes.cri.container-name":"coredns","io.kubernetes.cri.image-name":"registry.k8s.io/coredns:v1.11","io.kubernetes.cri.sandbox-name":"coredns-6d4b-w4b72","io.kubernetes.cri.sandbox-namespace":"kube-system","io.kubernetes.cri.sandbox-uid":"<uid>","other":"x"}}"#;
        let expected = Container {
            pod: pod("kube-system", "coredns-6d4b-w4b72"),
            ..named("containerd", "coredns", "registry.k8s.io/coredns:v1.11")
        };
        for dir in CONTAINERD {
            let (_dir, mut containers) = host(&[(&format!("{dir}/<id>/config.json"), file)]);
            let bare = Container {
                pod: pod("", ""),
                ..of("")
            };
            assert_eq!(containers.complete(bare, None), expected, "{dir}");
        }
    }

    #[test]
    fn cri_o_tells_container_and_pod_and_podmans_files_are_not_its() {
        let file = r#"{"annotations":{"io.container.manager":"cri-o","io.kubernetes.container.name":"coredns","io.kubernetes.cri-o.ImageName":"registry.k8s.io/coredns:v1.11","io.kubernetes.pod.name":"coredns-4mtdm","io.kubernetes.pod.namespace":"kube-system","io.kubernetes.pod.uid":"<uid>"}}"#;
        let path = "run/containers/storage/overlay-containers/<id>/userdata/config.json";
        let (_dir, mut containers) = host(&[(path, file)]);
        let expected = Container {
            pod: pod("kube-system", "coredns-4mtdm"),
            ..named("cri-o", "coredns", "registry.k8s.io/coredns:v1.11")
        };
        assert_eq!(containers.complete(of("cri-o"), None), expected);
        let (_dir, mut containers) = host(&[(path, r#"{"annotations":{}}"#)]);
        assert_eq!(containers.complete(of(""), None), of(""));
    }

    #[test]
    fn a_pod_is_told_by_the_kubelets_folder_of_its_logs() {
        let (_dir, mut containers) = host(&[
            ("var/log/pods/default_web-0_<uid>/web/0.log", ""),
            ("var/log/pods/other/x", ""),
        ]);
        let bare = Container {
            pod: pod("", ""),
            ..of("containerd")
        };
        let expected = Container {
            pod: pod("default", "web-0"),
            ..of("containerd")
        };
        assert_eq!(containers.complete(bare, None), expected);
    }

    #[test]
    fn damaged_files_tell_nothing() {
        let path = "var/lib/docker/containers/<id>/config.v2.json";
        for file in [
            "",
            "{",
            "[]",
            r#"{"Name":7}"#,
            r#"{"Name":"/","Config":null}"#,
        ] {
            let (_dir, mut containers) = host(&[(path, file)]);
            assert_eq!(
                containers.complete(of("docker"), None),
                of("docker"),
                "{file}"
            );
        }
        let long = format!(r#"{{"Name":"/{}"}}"#, "é".repeat(400));
        let (_dir, mut containers) = host(&[(path, &long)]);
        let name = containers.complete(of("docker"), None).name.unwrap();
        assert_eq!(name.len(), 254);
    }
}
