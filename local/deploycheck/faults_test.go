package deploycheck

import (
	"os"
	"strings"
	"testing"

	"quadrille.internal/local/kube"
	"quadrille.internal/platform/service/declared"
)

// theirs are the declarations that go with testdata/base.yaml.
var theirs = []declared.Service{
	{
		Name: "shop", Ports: declared.Ports{Public: 18100, GRPC: 18101, Admin: 18102, Health: 18103}, Database: true,
		Metrics: []declared.Metric{{Name: "shop_sold_seconds", Kind: "histogram", Label: "outcome"}},
		Emits:   []string{"shop.sold"}, Hears: []string{"stock.left"}, Calls: []string{"/stock.v1.Stock/Take"},
		Serves: []string{"/http.v1.Connections/Connect"}, Paths: []string{"/v1/orders"}, Workflows: true,
		Partners: []declared.Partner{{Name: "psp", URL: "QUADRILLE_PSP_URL"}},
		Settings: []declared.Setting{{Name: "QUADRILLE_PSP_URL"}},
	},
	{
		Name: "stock", Ports: declared.Ports{Public: 18200, GRPC: 18201, Admin: 18202, Health: 18203}, Database: true,
		Metrics: []declared.Metric{{Name: "stock_open", Kind: "gauge"}, {Name: "stock_heard_total", Kind: "counter", Label: "topic"}},
		Emits:   []string{"stock.left"}, Serves: []string{"/stock.v1.Stock/Take"},
	},
	{
		Name: "gateway", Ports: declared.Ports{Public: 18280, GRPC: 18281, Admin: 18282, Health: 18283},
		Calls:    []string{"/http.v1.Connections/Connect"},
		Settings: []declared.Setting{{Name: "QUADRILLE_REPLICAS"}},
	},
}

func base(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("testdata/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// parse reads a set of manifests.
func parse(t testing.TB, text string) (found []manifest) {
	t.Helper()
	objects, err := kube.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		found = append(found, manifest{o, "base.yaml"})
	}
	return found
}

func TestSoundManifestsHaveNoFault(t *testing.T) {
	for _, f := range check(parse(t, base(t)), theirs) {
		t.Errorf("%+v", f)
	}
}

// Each broken manifest differs from a sound one in one place, and has no other faults than
// those of that place.
func TestFaults(t *testing.T) {
	for name, test := range map[string]struct{ old, new, object, field, problem string }{
		"an object twice":              {"metadata: {name: stock.left, namespace: kafka}", "metadata: {name: shop.sold, namespace: kafka}", "KafkaTopic kafka/shop.sold", "metadata.name", "it is also in"},
		"a secret in git":              {"kind: PodDisruptionBudget\n", "kind: Secret\ndata: {password: c2VjcmV0}\n", "Secret quad/stock", "data", "a secret is in git"},
		"no such ConfigMap":            {"envFrom: [{configMapRef: {name: stock}}]", "envFrom: [{configMapRef: {name: stocks}}]", "Deployment quad/stock", "envFrom[0]", "there is no ConfigMap stocks"},
		"no such secret":               {"sources: [{secret: {name: stock,", "sources: [{secret: {name: stocks,", "Deployment quad/stock", "projected.sources[0]", "nothing makes the secret stocks"},
		"no such key":                  {"secretKeyRef: {name: broker, key: password}", "secretKeyRef: {name: broker, key: pass}", "Component quad/pubsub", "spec.metadata[password].secretKeyRef", "has no key pass, but password"},
		"no such key of a token":       {"{secretKey: dapr, remoteRef: {key: a}}, {secretKey: token, remoteRef: {key: a}}, {secretKey: url", "{secretKey: dapr, remoteRef: {key: a}}, {secretKey: tok, remoteRef: {key: a}}, {secretKey: url", "Rollout quad/shop", "app-token-secret", "has no key token"},
		"no such volume":               {"volumeMounts: [{name: secrets, mountPath: /secrets}]", "volumeMounts: [{name: secrets, mountPath: /secrets}, {name: tmp, mountPath: /tmp}]", "Rollout quad/shop", "volumeMounts[1]", "there is no volume tmp"},
		"no such store of secrets":     {"kind: ClusterSecretStore\nmetadata: {name: vault}", "kind: ClusterSecretStore\nmetadata: {name: other}", "ExternalSecret quad/broker", "spec.secretStoreRef", "there is no ClusterSecretStore vault"},
		"no such account":              {"kind: ServiceAccount\nmetadata: {name: stock,", "kind: ServiceAccount\nmetadata: {name: stocks,", "Deployment quad/stock", "serviceAccountName", "there is no ServiceAccount stock"},
		"no account of its own":        {"serviceAccountName: gateway", "serviceAccountName: default", "Deployment quad/gateway", "serviceAccountName", "every pod of the namespace"},
		"no such target":               {"kind: Deployment, name: stock}", "kind: Rollout, name: stock}", "HorizontalPodAutoscaler quad/stock", "spec.scaleTargetRef", "there is no Rollout stock"},
		"no such container":            {"container: stock,", "container: app,", "HorizontalPodAutoscaler quad/stock", "containerResource.container", "has no container app"},
		"no such port of a Service":    {"metadata: {name: stock, namespace: quad}\nspec: {selector: {app: stock}, ports: [{name: http, port: 80, targetPort: http}]}", "metadata: {name: stock, namespace: quad}\nspec: {selector: {app: stock}, ports: [{name: http, port: 80, targetPort: web}]}", "Service quad/stock", "spec.ports[0].targetPort", "has no port web"},
		"no such port of a backend":    {"port: {name: http}}}}]", "port: {name: web}}}}]", "Ingress quad/public", "backend", "has no port web"},
		"a selector of nothing":        {"selector: {matchLabels: {app: stock}}}\n---", "selector: {matchLabels: {app: stocks}}}\n---", "PodDisruptionBudget quad/stock", "spec.selector", "it selects no pod"},
		"no such analysis":             {"templateName: sagas", "templateName: saga", "Rollout quad/shop", "steps[1].analysis", "there is no AnalysisTemplate saga"},
		"an argument is missing":       {"args: [{name: service, value: shop}]", "args: []", "Rollout quad/shop", "steps[1].analysis.args", "wants the argument service"},
		"a scope of no service":        {"scopes: [shop, stock]", "scopes: [shop, stok]", "Component quad/pubsub", "scopes[1]", "there is no service stok"},
		"no such component":            {"auth: {secretStore: kubernetes}", "auth: {secretStore: vault}", "Component quad/pubsub", "auth.secretStore", "there is no component vault"},
		"a topic may not be published": {"shop=shop.sold,shop.deadletter; stock=stock.left", "shop=shop.deadletter; stock=stock.left", "Component quad/pubsub", "publishingScopes", "shop may not use shop.sold"},
		"a topic is heard undeclared":  {"stock=; gateway=\"}\nauth", "stock=shop.sold; gateway=\"}\nauth", "Component quad/pubsub", "subscriptionScopes", "stock may use shop.sold"},
		"no scopes":                    {"name: subscriptionScopes", "name: subscriptionScope", "Component quad/pubsub", "subscriptionScopes", "it is missing"},
		"a call is refused":            {"operations: [{name: /stock.v1.Stock/Take,", "operations: [{name: /stock.v1.Stock/Give,", "Configuration quad/quadrille", "operations", "shop may"},
		"a policy of no service":       {"{appId: gateway, namespace", "{appId: gatewy, namespace", "Configuration quad/quadrille", "spec.accessControl.policies", "gatew"},
		"policies elsewhere":           {"{appId: shop, namespace: quad,", "{appId: shop, namespace: default,", "Configuration quad/quadrille", "policies[0].namespace", "runs in the namespace quad"},
		"everything is allowed":        {"defaultAction: deny", "defaultAction: allow", "Configuration quad/quadrille", "spec.accessControl.defaultAction", "what is not named is allowed"},
		"a topic of nobody":            {"metadata: {name: stock.left, namespace: kafka}", "metadata: {name: stock.lost, namespace: kafka}", "KafkaTopic", "spec.topicName", "stock.l"},
		"a group of nobody":            {"consumerGroup: shop,", "consumerGroup: shops,", "ScaledObject quad/shop", "consumerGroup", "no service is the consumer group shops"},
		"a lag of what is not heard":   {"topic: stock.left}", "topic: shop.sold}", "ScaledObject quad/shop", "topic", "shop does not hear shop.sold"},
		"an app id of nobody":          {"dapr.io/app-id: stock", "dapr.io/app-id: stok", "", "app-id", "service sto"},
		"no such configuration":        {"dapr.io/app-id: stock\n        dapr.io/app-port: \"8081\"\n        dapr.io/app-protocol: grpc\n        dapr.io/config: quadrille", "dapr.io/app-id: stock\n        dapr.io/app-port: \"8081\"\n        dapr.io/app-protocol: grpc\n        dapr.io/config: quad", "Deployment quad/stock", "dapr.io/config", "there is no Configuration quad"},
		"another port for the sidecar": {"dapr.io/app-id: stock\n        dapr.io/app-port: \"8081\"", "dapr.io/app-id: stock\n        dapr.io/app-port: \"8080\"", "Deployment quad/stock", "app-port", "not listen for its sidecar on 8080, but on 8081"},
		"another protocol":             {"dapr.io/app-id: stock\n        dapr.io/app-port: \"8081\"\n        dapr.io/app-protocol: grpc", "dapr.io/app-id: stock\n        dapr.io/app-port: \"8081\"\n        dapr.io/app-protocol: http", "Deployment quad/stock", "app-protocol", "speak grpc"},
		"a port without a listener":    {"image: registry/quadrille-stock:v1\n          ports: [{name: http, containerPort: 8080}", "image: registry/quadrille-stock:v1\n          ports: [{name: http, containerPort: 8090}", "Deployment quad/stock", "containerPort", "does not listen on port 8090"},
		"a port on loopback":           {"metadata: {name: stock, namespace: quad}\ndata: {QUADRILLE_HTTP_ADDR: \":8080\"", "metadata: {name: stock, namespace: quad}\ndata: {QUADRILLE_HTTP_ADDR: \"127.0.0.1:8080\"", "Deployment quad/stock", "containerPort", "its own loopback only"},
		"a probe of another port":      {"livenessProbe: {httpGet: {path: /healthz, port: health}}", "livenessProbe: {httpGet: {path: /healthz, port: http}}", "Rollout quad/shop", "livenessProbe.httpGet.port", "answers probes on the port 8083"},
		"a probe of another path":      {"readinessProbe: {httpGet: {path: /readyz,", "readinessProbe: {httpGet: {path: /ready,", "Rollout quad/shop", "readinessProbe.httpGet.path", "asks /ready"},
		"a misspelt setting":           {"QUADRILLE_PSP_URL:", "QUADRILLE_PSP_URI:", "Rollout quad/shop", "QUADRILLE_PSP_URI", "no service here reads"},
		"a setting is missing":         {", QUADRILLE_DATABASE_URL_FILE: /secrets/url, QUADRILLE_DATABASE_CONNS: \"4\"}", "}", "Deployment quad/stock", ".env", "does not start without QUADRILLE_DATABASE_URL"},
		"a file is not mounted":        {"QUADRILLE_ADMIN_TOKEN_FILE: /secrets/admin,", "QUADRILLE_ADMIN_TOKEN_FILE: /secrets/adm,", "Rollout quad/shop", "QUADRILLE_ADMIN_TOKEN_FILE", "/secrets/adm is in no volume"},
		"a public path of nobody":      {"path: /v1/orders,", "path: /v1/order,", "Ingress quad/public", "path", "no service has public routes under /v1/order"},
		"past the gateway":             {"service: {name: gateway, port", "service: {name: shop, port", "Ingress quad/public", "backend", "public without the gateway"},
		"a call is cut":                {"    - {to: [{podSelector: {matchLabels: {app: stock}}}], ports: [{port: 50002}]}\n", "", "NetworkPolicy quad/shop", "spec.egress", "forbids shop to call stock"},
		"a call is cut at its end":     {"    - {from: [{podSelector: {matchLabels: {app: shop}}}], ports: [{port: 50002}]}", "    - {from: [{podSelector: {matchLabels: {app: shops}}}], ports: [{port: 50002}]}", "NetworkPolicy quad/stock", "spec.ingress", "forbids shop to call stock"},
		"the database is cut off":      {"    - {to: [{podSelector: {matchLabels: {cnpg.io/cluster: postgres}}}], ports: [{port: 5432}]}", "    - {to: [{podSelector: {matchLabels: {cnpg.io/cluster: postgres}}}], ports: [{port: 5433}]}", "NetworkPolicy quad/shop", "spec.egress", "its database"},
		"the broker is cut off":        {"kubernetes.io/metadata.name: kafka}}}], ports: [{port: 9093}]", "kubernetes.io/metadata.name: kafka}}}], ports: [{port: 9092}]", "NetworkPolicy quad/shop", "spec.egress", "the broker"},
		"names are cut off":            {"ports: [{port: 53, protocol: UDP}]", "ports: [{port: 53}]", "NetworkPolicy quad/migrate", "spec.egress", "migrate to ask for names"},
		"Dapr is cut off":              {"ports: [{port: 50001}, {port: 6500}]", "ports: [{port: 6500}]", "NetworkPolicy quad/shop", "spec.egress", "certificate of sentry"},
		"the third party is cut off":   {"except: [10.0.0.0/8, 169.254.0.0/16]}}], ports: [{port: 443}]", "except: [10.0.0.0/8, 169.254.0.0/16]}}], ports: [{port: 8443}]", "NetworkPolicy quad/shop", "spec.egress", "to call the third party psp"},
		"a health port for everybody":  {"    - {from: [{podSelector: {matchLabels: {app: shop}}}], ports: [{port: 50002}]}", "    - {from: [{podSelector: {matchLabels: {app: shop}}}], ports: [{port: 50002}]}\n    - {ports: [{port: 8083}]}", "NetworkPolicy quad/stock", "spec.ingress", "reaches QUADRILLE_HEALTH_ADDR of stock"},
		"the internet for a service":   {"kubernetes.io/metadata.name: kafka}}}], ports: [{port: 9093}]}\n---", "kubernetes.io/metadata.name: kafka}}}], ports: [{port: 9093}]}\n    - {to: [{ipBlock: {cidr: 0.0.0.0/0, except: [169.254.0.0/16]}}]}\n---", "NetworkPolicy quad/stock", "spec.egress", "reaches the internet"},
		"a cloud's credentials":        {"except: [10.0.0.0/8, 169.254.0.0/16]}}], ports: [{port: 443}]", "except: [10.0.0.0/8]}}], ports: [{port: 443}, {port: 80}]", "NetworkPolicy quad/shop", "spec.egress", "the cloud provider's credentials"},
		"a database for everybody":     {"podSelector: {matchLabels: {cnpg.io/cluster: postgres}}\n  policyTypes", "podSelector: {matchLabels: {cnpg.io/cluster: postgre}}\n  policyTypes", "Cluster quad/postgres", "metadata.labels", "any pod of any namespace reaches this database"},
		"a migration is cut off":       {"values: [shop, stock, migrate]", "values: [shop, stock]", "NetworkPolicy quad/postgres", "spec.ingress", "it forbids migrate its database"},
		"a key of a variable":          {"secretKeyRef: {name: stock, key: url}", "secretKeyRef: {name: stock, key: uri}", "Job quad/migrate", "env[QUADRILLE_MIGRATE_DATABASE_URL].valueFrom", "has no key uri"},
		"pods may do what they like":   {"labels: {pod-security.kubernetes.io/enforce: restricted}", "labels: {pod-security.kubernetes.io/enforce: baseline}", "Rollout quad/shop", "metadata.namespace", "does not enforce"},
		"a metric of nobody":           {"rate(shop_sold_seconds_count{", "rate(shop_sold_second_count{", "AnalysisTemplate quad/sagas", "metrics[0].provider.prometheus.query", "no service tells shop_sold_second_count"},
		"a histogram without a part":   {"rate(shop_sold_seconds_count{", "rate(shop_sold_seconds{", "AnalysisTemplate quad/sagas", "query", "no service tells shop_sold_seconds"},
		"a label of nobody":            {"outcome=\"in_time\"", "ended=\"in_time\"", "AnalysisTemplate quad/sagas", "query", "shop_sold_seconds_count has no label ended"},
		"a label of another series":    {"outcome=\"in_time\"", "le=\"5\"", "AnalysisTemplate quad/sagas", "query", "shop_sold_seconds_count has no label le"},
		"groups of nobody":             {"sum by (service, rollouts_pod_template_hash)", "sum by (services, rollouts_pod_template_hash)", "AnalysisTemplate quad/sagas", "query", "it groups by services"},
		"a label that is not kept":     {"podTargetLabels: [rollouts-pod-template-hash]", "podTargetLabels: []", "AnalysisTemplate quad/sagas", "query", "it groups by rollouts_pod_template_hash"},
		"a metric of another service":  {"service=\"{{args.service}}\"", "service=\"stock\"", "AnalysisTemplate quad/sagas", "query", "stock does not tell shop_sold_seconds_count"},
		"an alert for nothing":         {"rate(stock_heard_total{", "rate(stock_heard{", "PrometheusRule quad/rules", "spec.groups[0].rules[0].expr", "no service tells stock_heard"},
		"an alert for no topic":        {"topic=\"stock.left\"}[5m]", "topic=\"stock.right\"}[5m]", "PrometheusRule quad/rules", "rules[0].expr", "there is no topic stock.right"},
		"a record of nobody":           {"(anything) (shop:open:ratio)", "(anything) (shop:closed:ratio)", "PrometheusRule quad/rules", "rules[0].expr", "no service tells shop:closed:ratio"},
		"scaled by nothing":            {"query: sum(stock_open)", "query: sum(stock_opened)", "ScaledObject quad/shop", "triggers[1].metadata.query", "no service tells stock_opened"},
		"scaled by no metric":          {"metric: {name: stock_open,", "metric: {name: stock_opened,", "HorizontalPodAutoscaler quad/stock", "metrics[1].pods.metric", "no service tells stock_opened"},
		"more connections than there":  {"max_connections: \"92\"", "max_connections: \"91\"", "Cluster quad/postgres", "max_connections", "open 92 connections, and the server takes 91"},
		"more memory than there":       {"memory: 1Gi", "memory: 950Mi", "Cluster quad/postgres", "max_connections", "are 972 MiB, and the server has 950"},
		"more replicas than there":     {"maxReplicaCount: 3", "maxReplicaCount: 4", "Cluster quad/postgres", "max_connections", "open 100 connections"},
		"more pods in a roll-out":      {"maxSurge: 1, maxUnavailable: 0, steps", "maxSurge: 40%, maxUnavailable: 0, steps", "Cluster quad/postgres", "max_connections", "open 108 connections"},
		"fewer parts than replicas":    {"maxReplicas: 2", "maxReplicas: 6", "Deployment quad/gateway", "env[QUADRILLE_REPLICAS]", "each of up to 6 replicas allows a part of the rates as if there were 2"},
		"no parts at all":              {", QUADRILLE_REPLICAS: \"2\"", "", "Deployment quad/gateway", "env[QUADRILLE_REPLICAS]", "as if there were 1"},
		"a pool without an end":        {", QUADRILLE_DATABASE_CONNS: \"4\"}", "}", "Deployment quad/stock", ".env", "how many connections to the database"},
		"a state store without an end": {"{name: maxConns, value: \"2\"}", "{name: timeout, value: \"20s\"}", "Component quad/statestore", "maxConns", "how many connections a sidecar"},
		"no broker":                    {"scopes: [shop, stock]", "scopes: [shop]", "Deployment quad/stock", "spec.template", "loads no broker"},
		"no store of workflows":        {"{name: actorStateStore, value: \"true\"}", "{name: actorStateStore, value: \"false\"}", "Rollout quad/shop", "spec.template", "loads no actorStateStore"},
		"no retry of deliveries":       {"components: {pubsub: {inbound", "components: {pubsub: {outbound", "Component quad/pubsub", "metadata.name", "tried again"},
		"no database":                  {"spec: {name: stock, owner: stock}", "spec: {name: stocks, owner: stock}", "Cluster quad/postgres", "metadata.name", "nothing makes the database stock"},
		"no such Service":              {"QUADRILLE_PSP_URL: \"https://psp.example.com\"", "QUADRILLE_PSP_URL: \"https://psp\"", "Rollout quad/shop", "QUADRILLE_PSP_URL", "behind a Service psp with port 443"},
		"another port of a Service":    {"QUADRILLE_PSP_URL: \"https://psp.example.com\"", "QUADRILLE_PSP_URL: \"http://stock:81\"", "Rollout quad/shop", "QUADRILLE_PSP_URL", "behind a Service stock with port 81"},
		"an image of no registry":      {"image: registry/quadrille-gateway:v1", "image: quadrille-gateway", "Deployment quad/gateway", "image", "of no registry"},
		"a host without certificate":   {"hosts: [shop.example.com]", "hosts: [shup.example.com]", "Ingress quad/public", "spec.rules[0].host", "no certificate is for shop.example.com"},
		"workflows of one pod alone":   {"matchLabels: {app: \"shop\"}}}], ports: [{port: 50002}]}\n    - {from: [{names", "matchLabels: {app: \"shops\"}}}], ports: [{port: 50002}]}\n    - {from: [{names", "NetworkPolicy quad/shop", "spec.ingress", "which its sidecars share"},
		"no way to another namespace":  {"env: [{name: QUADRILLE_MIGRATE", "env: [{name: TRACES, value: \"http://traces.monitoring.svc:4318\"}, {name: QUADRILLE_MIGRATE", "NetworkPolicy quad/migrate", "spec.egress", "what TRACES names (port 4318)"},
		"a database alone":             {"ports: [{port: 5432}, {port: 8000}]", "ports: [{port: 5432}]", "NetworkPolicy quad/postgres", "spec", "none follows the first"},
		"no metrics of the sidecar":    {"{port: health}, {port: dapr-metrics}]", "{port: health}]", "Deployment quad/stock", "metadata.labels", "read its port dapr-metrics"},
		"metrics of no port":           {"podMetricsEndpoints: [{port: health}", "podMetricsEndpoints: [{port: helth}", "PodMonitor quad/services", "podMetricsEndpoints[0].port", "has no port helth"},
		"metrics of nobody":            {"selector: {}, podMetricsEndpoints", "selector: {matchLabels: {app: shops}}, podMetricsEndpoints", "Deployment quad/stock", "metadata.labels", "no PodMonitor"},
		"metrics are cut off":          {"ports: [{port: 8083}, {port: 9090}]}\n  egress:", "ports: [{port: 9090}]}\n  egress:", "NetworkPolicy quad/shop", "spec.ingress", "the metrics of shop (port 8083)"},
		"sentry is not read":           {"matchNames: [dapr-system]", "matchNames: [dapr]", "PrometheusRule quad/rules", "rules[1].expr", "no PodMonitor has Prometheus read dapr-sentry"},
		"another broker for KEDA":      {"bootstrapServers: \"kafka.kafka", "bootstrapServers: \"kafka.broker", "ScaledObject quad/shop", "bootstrapServers", "the sidecars' broker is not at"},
		"scaled twice":                 {"kind: Deployment, name: stock}", "kind: Deployment, name: shop}", "HorizontalPodAutoscaler quad/stock", "spec.scaleTargetRef", "ScaledObject quad/shop scales it too"},
		"no node can be drained":       {"spec: {maxUnavailable: 1,", "spec: {maxUnavailable: 0,", "PodDisruptionBudget quad/stock", "spec", "no node can be drained"},
		"no probe":                     {"          readinessProbe: {httpGet: {path: /readyz, port: health}}\n", "", "Rollout quad/shop", "readinessProbe", "nobody asks shop"},
		"no limit":                     {", limits: {memory: 256Mi}}", "}", "Rollout quad/shop", "resources.limits.memory", "the memory of others"},
		"no preStop":                   {"          lifecycle: {preStop: {sleep: {seconds: 5}}}\n", "", "Rollout quad/shop", "lifecycle.preStop", "calls are still led"},
		"killed before its end":        {"QUADRILLE_DRAIN: 5s", "QUADRILLE_DRAIN: 6s", "Deployment quad/gateway", "terminationGracePeriodSeconds", "killed after 30 s, and its end takes up to 31s"},
		"a sidecar that ends too soon": {"dapr.io/enable-native-sidecar: \"true\"", "dapr.io/enable-native-sidecar: \"false\"", "Rollout quad/shop", "enable-native-sidecar", "cannot publish any more"},
		"no token":                     {"        dapr.io/api-token-secret: stock\n", "", "Deployment quad/stock", "api-token-secret", "the token of \"\", and the service that of \"stock\""},
		"another's token":              {"dapr.io/app-token-secret: stock", "dapr.io/app-token-secret: shop", "Deployment quad/stock", "app-token-secret", "the token of \"shop\""},
		"a namespace of no project":    {"namespace: kafka}]", "namespace: broker}]", "KafkaTopic kafka/shop.sold", "metadata.namespace", "may not apply to the namespace kafka"},
		"a kind of no project":         {", kind: ClusterSecretStore}]", ", kind: SecretStore}]", "ClusterSecretStore vault", "kind", "may not apply ClusterSecretStore"},
		"a forbidden kind":             {"kind: LimitRange", "kind: ServiceAccount", "ServiceAccount quad/shop", "kind", "may not apply ServiceAccount"},
		"a release before its schema":  {"argocd.argoproj.io/sync-wave: \"-1\"", "argocd.argoproj.io/sync-wave: \"0\"", "Job quad/migrate", "sync-wave", "not before Deployment quad/stock"},
		"a migration before its name":  {"argocd.argoproj.io/sync-wave: \"-2\"", "argocd.argoproj.io/sync-wave: \"0\"", "ServiceAccount quad/stock", "sync-wave", "not before Job quad/migrate"},
		"a migration that runs once":   {"argocd.argoproj.io/hook: Sync, ", "", "Job quad/migrate", "hook", "a Job cannot be changed"},
		"settings are deleted":         {"sync-options: Prune=false", "sync-options: Prune=true", "ConfigMap quad/gateway-2k5h8t4m6b", "metadata.annotations", "while pods of Deployment quad/gateway still start with it"},
		"no topics":                    {"kind: KafkaTopic", "kind: KafkaUser", "Component quad/pubsub", "brokers", "nothing makes the topics"},
		"a repository of no project":   {"[{git: {repoURL: \"https://git", "[{git: {repoURL: \"http://git", "ApplicationSet argocd/quad", "spec", "no project permits the repository http://git.example.com/quad.git"},
		"no policy":                    {"podSelector: {matchLabels: {app: stock}}\n  policyTypes: [Ingress, Egress]", "podSelector: {matchLabels: {app: stock}}\n  policyTypes: [Ingress]", "Deployment quad/stock", "labels", "selects these pods for Egress"},
	} {
		t.Run(name, func(t *testing.T) {
			sound := base(t)
			times := 1
			if test.old == "kind: KafkaTopic" {
				times = -1 // all of them
			}
			broken := strings.Replace(sound, test.old, test.new, times)
			if broken == sound {
				t.Fatalf("testdata/base.yaml does not have %q", test.old)
			}
			faults := check(parse(t, broken), theirs)
			found := false
			for _, f := range faults {
				if f.File == "" || f.Problem == "" || f.Remedy == "" {
					t.Errorf("%+v does not say everything", f)
				}
				found = found || f.Object == test.object && strings.Contains(f.Field, test.field) && strings.Contains(f.Problem, test.problem)
			}
			if !found {
				t.Errorf("not found; found were %+v", faults)
			}
		})
	}
}

// A connection needs both sides: one that permits more does no harm where the other does not.
func TestWhatBothSidesAllowIsDeclared(t *testing.T) {
	in := strings.NewReplacer("    - {from: [{podSelector: {matchLabels: {app: shop}}}], ports: [{port: 50002}]}", "    - {from: [{podSelector: {matchLabels: {app: gateway}}}], ports: [{port: 50002}, {port: 18202}]}\n    - {from: [{podSelector: {matchLabels: {app: shop}}}], ports: [{port: 50002}]}")
	out := strings.NewReplacer("    - {to: [{podSelector: {matchLabels: {app: shop}}}], ports: [{port: 50002}]}", "    - {to: [{podSelector: {}}]}")
	for _, one := range []*strings.Replacer{in, out} {
		for _, f := range check(parse(t, one.Replace(base(t))), theirs) {
			t.Errorf("one side: %+v", f)
		}
	}
	var problems []string
	for _, f := range check(parse(t, out.Replace(in.Replace(base(t)))), theirs) {
		problems = append(problems, f.Problem)
	}
	for _, want := range []string{"gateway reaches its sidecar of stock (port 50002), which nothing declares", "gateway reaches its admin port of stock (port 18202), which nothing declares"} {
		if !contains(problems, want) {
			t.Errorf("%q is not among %q", want, problems)
		}
	}
}
