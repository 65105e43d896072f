package deploycheck

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"quadrille.internal/local/kube"
)

const collectorImage = "opentelemetry-collector"

// collectors has the OpenTelemetry Collector read the configuration that its pods mount. It must
// be the release that runs there: what another one takes says nothing.
func (s *set) collectors(ctx context.Context, program string) error {
	said, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return fmt.Errorf("ask the collector for its version: %w", err)
	}
	for _, p := range s.pods {
		for _, c := range p.containers() {
			image, tag, _ := strings.Cut(path.Base(c.Text("image")), ":")
			if image != collectorImage {
				continue
			}
			if version := strings.TrimSpace(string(said)); !strings.HasSuffix(version, " "+tag) {
				s.fault(p.owner, c.field+".image", "its configuration is read by "+version+" here, and by "+tag+" in a cluster",
					"take the release of local/toolchain/collector, or raise that one")
			}
			if err := s.readByCollector(ctx, program, p, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *set) readByCollector(ctx context.Context, program string, p pod, c container) error {
	found := false
	for _, arg := range c.Texts("args") {
		file, is := strings.CutPrefix(arg, "--config=")
		if !is {
			continue
		}
		found = true
		text, there := s.mounted(p, c, file)
		if !there {
			s.fault(p.owner, c.field+".args", file+" is in no ConfigMap that the container mounts", "mount the ConfigMap that has it")
			continue
		}
		refused, err := validate(ctx, program, text, s.env(p, c))
		if err != nil {
			return err
		}
		if refused != "" {
			s.fault(p.owner, c.field+".args", "the collector refuses "+file+": "+refused, "correct it in deploy/platform/telemetry")
		}
	}
	if !found {
		s.fault(p.owner, c.field+".args", "the collector is not told where its configuration is", "add --config=FILE")
	}
	return nil
}

// mounted is a file of a container that is a key of a ConfigMap.
func (s *set) mounted(p pod, c container, file string) (text string, there bool) {
	for _, m := range c.List("volumeMounts") {
		if path.Clean(m.Text("mountPath")) != path.Dir(file) {
			continue
		}
		for _, v := range p.template.List("spec", "volumes") {
			if v.Text("name") != m.Text("name") {
				continue
			}
			data := s.configMap(p.namespace, v.Text("configMap", "name"))
			if _, has := data[path.Base(file)]; has {
				return kube.Text(data[path.Base(file)]), true
			}
		}
	}
	return "", false
}

// validate returns why the collector refuses a configuration, or "".
func validate(ctx context.Context, program, text string, env map[string]string) (refused string, err error) {
	dir, err := os.MkdirTemp("", "collector-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program, "validate", "--config="+file)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	if _, ended := errors.AsType[*exec.ExitError](err); ended && ctx.Err() == nil {
		return strings.TrimSpace(string(out)), nil
	}
	return "", err
}
