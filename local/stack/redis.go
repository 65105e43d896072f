package stack

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// parseRedis reads QUADRILLE_REDIS: host:port, or a URL with a password. Sidecars
// speak plain TCP to database 0, so anything else in the URL is refused.
func parseRedis(value string) (addr, password string, err error) {
	if !strings.Contains(value, "://") {
		value = "redis://" + value
	}
	u, err := url.Parse(value)
	if err != nil {
		return "", "", fmt.Errorf("QUADRILLE_REDIS: %w", err)
	}
	if u.Scheme != "redis" || u.Host == "" || strings.Trim(u.Path, "/0") != "" {
		return "", "", fmt.Errorf("QUADRILLE_REDIS must be host:port or redis://:password@host:port, not %q", u.Redacted())
	}
	addr = u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), "6379")
	}
	password, _ = u.User.Password()
	return addr, password, nil
}

// startRedis brings up the private broker, unless QUADRILLE_REDIS names one.
func (s *Stack) startRedis(ctx context.Context) error {
	ready := redisPong(s.redis.addr, s.redis.password)
	if s.redis.external {
		if err := ready(ctx); err != nil {
			return &EnvironmentError{
				Problem: fmt.Sprintf("the Redis of QUADRILLE_REDIS (%s) does not answer: %v", s.redis.addr, err),
				Remedy:  "start it, correct the variable, or unset it for a private instance",
			}
		}
		s.report("redis", Running, s.redis.addr+" (QUADRILLE_REDIS)")
		return nil
	}
	if s.alreadyRunning("redis", s.redis.addr) {
		return nil
	}

	server, err := s.findRedis(ctx)
	if err != nil {
		return err
	}
	config, err := s.writeRedisConfig()
	if err != nil {
		return err
	}
	return s.start(ctx, command{name: "redis", args: []string{server, config}}, s.redis.addr, ready)
}

// writeRedisConfig states all that matters, since none of the distribution's
// configuration is read.
func (s *Stack) writeRedisConfig() (path string, err error) {
	dir := filepath.Join(s.Dir, "redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path = filepath.Join(dir, "redis.conf")
	return path, os.WriteFile(path, fmt.Appendf(nil, `bind 127.0.0.1
port %d
requirepass %s
dir %s
daemonize no
# The append-only file is the store, and an event leaves its outbox once Redis has
# answered. "everysec" answers before it writes while an fsync is under way: of
# 12 servers killed under load one had lost 4,416 events it had answered for.
appendonly yes
appendfsync always
save ""
# Entries stay for a week, so rewriting the file hardly makes it shorter.
auto-aof-rewrite-min-size 1gb
# A full broker refuses new events, which the outbox keeps, and loses no old one.
maxmemory-policy noeviction
`, portOf(s.redis.addr), s.redis.password, strconv.Quote(dir)), 0o600)
}

const redisGrace = 60 * time.Second
