package deploycheck

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"quadrille.internal/local/kube"
)

// Annotations of Argo CD.
const (
	syncWave       = "argocd.argoproj.io/sync-wave"
	syncHook       = "argocd.argoproj.io/hook"
	syncOptions    = "argocd.argoproj.io/sync-options"
	compareOptions = "argocd.argoproj.io/compare-options"
	named          = "app.kubernetes.io/name"
)

// ofArgo are kinds that people apply: with them Argo CD applies the rest.
var ofArgo = []string{"AppProject", "Application", "ApplicationSet"}

// projects refuses what Argo CD may not apply, since no project permits its kind or namespace.
func projects(s *set) {
	all := s.of("AppProject")
	if len(all) == 0 {
		return
	}
	for _, m := range s.manifests {
		if m.Group() == "argoproj.io" && contains(ofArgo, m.Kind()) {
			continue
		}
		if !slices.ContainsFunc(all, func(project manifest) bool { return kindPermitted(project, m) }) {
			s.fault(m, "kind", "Argo CD may not apply "+m.Kind()+": "+all[0].String()+" does not permit it", "add it to the project, or leave the object out")
		}
		if m.Namespace() != "" && !slices.ContainsFunc(all, func(project manifest) bool { return destined(project, m.Namespace()) }) {
			s.fault(m, "metadata.namespace", "Argo CD may not apply to the namespace "+m.Namespace()+": "+all[0].String()+" does not permit it",
				"add it to spec.destinations of the project")
		}
	}
}

// repositories refuses applications of a repository that no project permits, or that is a place
// holder still.
func repositories(s *set) {
	projects := s.of("AppProject")
	for _, m := range s.of("Application", "ApplicationSet") {
		for _, url := range urlsOf(m.Map("spec")) {
			if !slices.ContainsFunc(projects, func(project manifest) bool {
				return slices.ContainsFunc(project.Texts("spec", "sourceRepos"), func(repo string) bool { return fits(repo, url) })
			}) {
				s.fault(m, "spec", "no project permits the repository "+url, "correct repoURL, or spec.sourceRepos of the project")
			}
		}
	}
}

// urlsOf are the values of repoURL anywhere in a value.
func urlsOf(value any) (found []string) {
	walk(value, func(o kube.Object) {
		if url, is := o["repoURL"]; is {
			found = append(found, kube.Text(url))
		}
	})
	return found
}

func kindPermitted(project, m manifest) bool {
	in := func(list string) bool {
		return slices.ContainsFunc(project.List("spec", list), func(o kube.Object) bool {
			return fits(o.Text("group"), m.Group()) && fits(o.Text("kind"), m.Kind())
		})
	}
	if m.Namespace() == "" {
		return in("clusterResourceWhitelist") && !in("clusterResourceBlacklist")
	}
	return !in("namespaceResourceBlacklist") && (project.At("spec", "namespaceResourceWhitelist") == nil || in("namespaceResourceWhitelist"))
}

func destined(project manifest, namespace string) bool {
	return slices.ContainsFunc(project.List("spec", "destinations"), func(o kube.Object) bool { return fits(o.Text("namespace"), namespace) })
}

func fits(pattern, text string) bool {
	fit, err := path.Match(pattern, text)
	return err == nil && fit
}

// waves refuses an order in which a pod is applied before what it needs, and the release before
// its migration.
func waves(s *set) {
	for _, p := range s.pods {
		name := p.owner.Text("metadata", "labels", named)
		if name == "" {
			continue
		}
		migrates := p.owner.Kind() == "Job"
		if migrates && p.owner.At("metadata", "annotations", syncHook) == nil && s.applied() {
			s.fault(p.owner, "metadata.annotations["+syncHook+"]", "a Job cannot be changed, so that Argo CD could not apply the next release", "make it a hook")
		}
		for _, m := range s.of("ServiceAccount", "ConfigMap", "ExternalSecret", "NetworkPolicy", "Job") {
			if m.Namespace() != p.namespace || m.Text("metadata", "labels", named) != name || m.Kind() == "Job" && migrates {
				continue
			}
			if own, its := waveOf(p.owner), waveOf(m); its > own || its == own && m.Kind() == "Job" {
				s.fault(m, "metadata.annotations["+syncWave+"]", fmt.Sprintf("it comes in wave %d, not before %s in wave %d, which needs it", its, p.owner, own),
					"give it an earlier wave")
			}
		}
	}
}

// applied reports whether Argo CD applies the manifests.
func (s *set) applied() bool { return len(s.of(ofArgo...)) > 0 }

func waveOf(m manifest) int { return number(m.At("metadata", "annotations", syncWave)) }

// hashed is the end that kustomize gives the name of what it generates: another for each content.
var hashed = regexp.MustCompile(`-[bcdfghkmt2456789]{10}$`)

// kept refuses settings that Argo CD would delete with the next release, while pods of this one
// still start with them: one that is evicted, that crashed, or to which a canary goes back.
func kept(s *set) {
	for _, p := range s.pods {
		if p.owner.Kind() == "Job" || !s.applied() {
			continue
		}
		for _, m := range s.of("ConfigMap") {
			if m.Namespace() != p.namespace || !hashed.MatchString(m.Name()) || !p.reads(m.Name()) {
				continue
			}
			annotations := m.Map("metadata", "annotations")
			if !option(annotations.Text(syncOptions), "Prune=false") || !option(annotations.Text(compareOptions), "IgnoreExtraneous") {
				s.fault(m, "metadata.annotations", fmt.Sprintf("Argo CD deletes it with the next release, while pods of %s still start with it", p.owner),
					"annotate it with "+syncOptions+": Prune=false and "+compareOptions+": IgnoreExtraneous")
			}
		}
	}
}

func option(list, want string) bool {
	return slices.ContainsFunc(strings.Split(list, ","), func(o string) bool { return strings.TrimSpace(o) == want })
}

// reads reports whether a pod names a ConfigMap.
func (p pod) reads(name string) bool {
	for _, c := range p.containers() {
		for _, from := range c.List("envFrom") {
			if from.Text("configMapRef", "name") == name {
				return true
			}
		}
		for _, v := range c.List("env") {
			if v.Text("valueFrom", "configMapKeyRef", "name") == name {
				return true
			}
		}
	}
	return slices.ContainsFunc(p.template.List("spec", "volumes"), func(v kube.Object) bool {
		return v.Text("configMap", "name") == name || slices.ContainsFunc(v.List("projected", "sources"), func(source kube.Object) bool {
			return source.Text("configMap", "name") == name
		})
	})
}

// sources looks for the folders and files of the repository that applications are made of.
func (t *tree) sources(s *set, environment string) {
	for _, m := range s.of("ApplicationSet") {
		paths := []string{""}
		for _, directory := range directories(m.Object) {
			found, err := filepath.Glob(filepath.Join(t.root, directory))
			if err != nil || len(found) == 0 {
				s.fault(m, "spec.generators", "there is no folder "+directory, "correct the path")
			}
			paths = found
		}
		spec := m.Map("spec", "template", "spec")
		field := "spec.template.spec.source.path"
		for _, at := range paths {
			given := spec.Text("source", "path")
			if at, err := filepath.Rel(t.root, at); err == nil {
				given = strings.ReplaceAll(given, "{{ .path.path }}", at)
			}
			given = strings.ReplaceAll(given, "{{ .metadata.labels.environment }}", environment)
			if given != "" && !slices.Contains(t.folders, filepath.Clean(given)) {
				s.fault(m, field, "there is no kustomization in "+given, "correct the path, or add the overlay")
			}
		}
		for i, source := range spec.List("sources") {
			for _, file := range source.Texts("helm", "valueFiles") {
				_, own, _ := strings.Cut(file, "/")
				if found, err := filepath.Glob(filepath.Join(t.root, own)); err != nil || len(found) != 1 {
					s.fault(m, fmt.Sprintf("spec.template.spec.sources[%d].helm.valueFiles", i), "there is no file "+own, "correct the path")
				}
			}
		}
	}
}

// directories are those of the git generators anywhere in a value.
func directories(value any) (found []string) {
	walk(value, func(o kube.Object) {
		for _, directory := range o.List("git", "directories") {
			found = append(found, directory.Text("path"))
		}
	})
	return found
}

// walk visits all objects in a value.
func walk(value any, visit func(kube.Object)) {
	if list, is := value.([]any); is {
		for _, item := range list {
			walk(item, visit)
		}
		return
	}
	o := kube.Map(value)
	visit(o)
	for _, item := range o {
		walk(item, visit)
	}
}
