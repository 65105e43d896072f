package searchtest

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quadrille.internal/platform/servicetest"
)

//go:embed opensearch
var files embed.FS

const (
	openSearchVersion = "2.19.3"
	fetchTimeout      = 4 * time.Minute
	nobody            = 65534
	// toldOfLog is how much of the server's log a failed test shows.
	toldOfLog = 4 << 10
	// startTimeout is for a machine that is busy with other servers too.
	startTimeout = 5 * time.Minute
	lookEvery    = 100 * time.Millisecond
)

// Server is an OpenSearch of one node, for tests only.
type Server struct {
	URL string

	home, lib, addr string
	cmd             *exec.Cmd
	ended           chan struct{}
}

var fetched = sync.OnceValues(fetch)

// Start starts a server until the test ends. Where there is no Java 17 or no Maven it skips the
// test, and says so.
func Start(t testing.TB) *Server {
	t.Helper()
	lib, err := fetched()
	if err != nil {
		t.Skipf("SKIPPED, and so nothing is known of the engine opensearch: %v", err)
	}
	home, err := os.MkdirTemp("", "opensearch-") //nolint:usetesting // a user without rights has to get into it
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{home: home, lib: lib}
	t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(home, "tmp", "server.log")); err == nil && t.Failed() {
			t.Logf("the server says:\n%s", log[max(0, len(log)-toldOfLog):])
		}
		s.Kill(t)
		_ = os.RemoveAll(home) // it is below the folder of temporary files
	})
	s.layOut(t)
	s.addr = s.configure(t)
	s.URL = "http://" + s.addr
	s.Run(t)
	return s
}

// fetch has Maven fetch what the pom pins, unless that is there.
func fetch() (lib string, err error) {
	for _, program := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%s is not installed (apt-get install openjdk-17-jre-headless maven)", program)
		}
	}
	root, err := repository()
	if err != nil {
		return "", err
	}
	lib = filepath.Join(root, ".local", "opensearch", openSearchVersion)
	pom, err := files.ReadFile("opensearch/pom.xml")
	if err != nil {
		return "", err
	}
	stamp := filepath.Join(lib, "pom.xml") // of what the jars beside it were fetched for
	if have, err := os.ReadFile(stamp); err == nil && string(have) == string(pom) {
		return lib, nil
	}
	if err := os.MkdirAll(lib, 0o755); err != nil {
		return "", err
	}
	temporary := filepath.Join(lib, "pom.tmp.xml")
	if err := os.WriteFile(temporary, pom, 0o644); err != nil { //nolint:gosec // jars are no secret
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "mvn", "--batch-mode", "--quiet", "--file", temporary,
		"dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+lib).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("maven cannot fetch OpenSearch %s: %w\n%s", openSearchVersion, err, out)
	}
	return lib, os.Rename(temporary, stamp)
}

func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		above := filepath.Dir(dir)
		if above == dir {
			return "", errors.New("not within the repository")
		}
		dir = above
	}
}

// layOut makes the folders of an installation: jars for the server, and those of the one
// module that it needs to listen.
func (s *Server) layOut(t testing.TB) {
	t.Helper()
	module := filepath.Join(s.home, "modules", "transport-netty4")
	for _, dir := range []string{module, filepath.Join(s.home, "lib"), filepath.Join(s.home, "config"), filepath.Join(s.home, "plugins"), filepath.Join(s.home, "tmp")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	jars, err := filepath.Glob(filepath.Join(s.lib, "*.jar"))
	if err != nil || len(jars) == 0 {
		t.Fatalf("%s has no jars, %v", s.lib, err)
	}
	for _, jar := range jars {
		to := filepath.Join(s.home, "lib")
		if name := filepath.Base(jar); strings.HasPrefix(name, "netty-") || strings.HasPrefix(name, "transport-netty4") {
			to = module
		}
		copyFile(t, os.DirFS(filepath.Dir(jar)), filepath.Base(jar), filepath.Join(to, filepath.Base(jar)))
	}
	for _, name := range []string{"plugin-descriptor.properties", "plugin-security.policy"} {
		copyFile(t, files, "opensearch/"+name, filepath.Join(module, name))
	}
}

func copyFile(t testing.TB, from fs.FS, name, to string) {
	t.Helper()
	in, err := from.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() //nolint:errcheck // it is only read
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// configure writes the settings, with ports that stay the server's, and returns where it will listen.
func (s *Server) configure(t testing.TB) (addr string) {
	t.Helper()
	addr = servicetest.FreeAddr(t)
	_, http, _ := net.SplitHostPort(addr)
	_, transport, _ := net.SplitHostPort(servicetest.FreeAddr(t))
	text := fmt.Sprintf(`cluster.name: quadrille-test
node.name: one
network.host: 127.0.0.1
http.port: %s
transport.port: %s
discovery.type: single-node
cluster.routing.allocation.disk.threshold_enabled: false
bootstrap.memory_lock: false
`, http, transport)
	const logging = "status = error\nappender.console.type = Console\nappender.console.name = console\n" +
		"appender.console.layout.type = PatternLayout\nappender.console.layout.pattern = %d %p %c{1.} %m%n\n" +
		"rootLogger.level = warn\nrootLogger.appenderRef.console.ref = console\n"
	for name, content := range map[string]string{"opensearch.yml": text, "log4j2.properties": logging} {
		if err := os.WriteFile(filepath.Join(s.home, "config", name), []byte(content), 0o644); err != nil { //nolint:gosec // no secret
			t.Fatal(err)
		}
	}
	return addr
}

// Run starts the server, also after Kill. It does not run as root, which it refuses.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	log, err := os.Create(filepath.Join(s.home, "tmp", "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command("java", "-Xms384m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", //nolint:gosec // our own arguments
		"-Djava.io.tmpdir="+filepath.Join(s.home, "tmp"), "-Dopensearch.networkaddress.cache.ttl=60", "-Dlog4j2.disable.jmx=true",
		"-Dlog4j.shutdownHookEnabled=false", "-Dio.netty.noUnsafe=true", "-Dio.netty.noKeySetOptimization=true",
		"-Djava.security.manager=allow", "-Djava.locale.providers=SPI,COMPAT", "-Dopensearch.bundled_jdk=false",
		"-Dopensearch.path.home="+s.home, "-Dopensearch.path.conf="+filepath.Join(s.home, "config"), "-Dopensearch.distribution.type=tar",
		"-cp", filepath.Join(s.home, "lib", "*"), "org.opensearch.bootstrap.OpenSearch")
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.home, log, log
	if os.Geteuid() == 0 {
		s.giveTo(t, nobody)
		s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait() // it is killed
		close(ended)
	}(s.cmd, s.ended)
	s.awaitAnswer(t, log.Name())
}

// awaitAnswer waits until the server answers, or has ended.
func (s *Server) awaitAnswer(t testing.TB, log string) {
	t.Helper()
	client := &http.Client{Timeout: startTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(startTimeout); !s.answers(t, client); {
		select {
		case <-s.ended:
			t.Fatalf("OpenSearch has ended (see %s)", log)
		case <-time.After(lookEvery):
		}
		if time.Now().After(deadline) {
			t.Fatalf("OpenSearch does not answer within %s (see %s)", startTimeout, log)
		}
	}
}

func (s *Server) answers(t testing.TB, client *http.Client) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/_cluster/health?wait_for_status=yellow&timeout=500ms", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func (s *Server) giveTo(t testing.TB, user int) {
	t.Helper()
	err := filepath.WalkDir(s.home, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, user, user)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server at once, as a crash does.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.ended
	s.cmd = nil
}

// Save keeps what the server, which must not run, has on disk; Restore brings it back.
func (s *Server) Save(t testing.TB) { s.copyData(t, "data", "saved") }

// Restore is what a backup does.
func (s *Server) Restore(t testing.TB) { s.copyData(t, "saved", "data") }

func (s *Server) copyData(t testing.TB, from, to string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(s.home, to)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(s.home, to), os.DirFS(filepath.Join(s.home, from))); err != nil {
		t.Fatal(err)
	}
}
