package image

import (
	"fmt"
	"strings"
	"testing"

	"quadrille.internal/local/gobuild"
)

// No Docker runs here, so the Dockerfile is held against what Build does.
func TestTheDockerfileBuildsTheSame(t *testing.T) {
	text := string(read(t, "../../deploy/Dockerfile"))
	for _, want := range []string{
		"CGO_ENABLED=0", "GOWORK=off", fmt.Sprintf("go build %s -ldflags '%s'", strings.Join(gobuild.Flags, " "), gobuild.Stripped),
		"FROM scratch", fmt.Sprintf("USER %d:%d", User, User), "/" + rootsPath, "/" + passwdPath,
		"EXPOSE 8080 8081 8082 8083", "org.opencontainers.image.revision", "org.opencontainers.image.version",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("deploy/Dockerfile lacks %q", want)
		}
	}
}
