package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const (
	composeFile = "../docker-compose.temporal.yml"
	exampleFile = "example.env"
)

type compose struct {
	Services map[string]service `yaml:"services"`
	Volumes  map[string]any     `yaml:"volumes"`
	Networks map[string]any     `yaml:"networks"`
}

type service struct {
	Image       string                       `yaml:"image"`
	Command     []string                     `yaml:"command"`
	Restart     string                       `yaml:"restart"`
	Environment map[string]string            `yaml:"environment"`
	DependsOn   map[string]map[string]string `yaml:"depends_on"`
	Healthcheck map[string]any               `yaml:"healthcheck"`
	Volumes     []string                     `yaml:"volumes"`
	Networks    []string                     `yaml:"networks"`
	Deploy      struct {
		Replicas int `yaml:"replicas"`
	} `yaml:"deploy"`
}

func load(t *testing.T) (compose, string) {
	t.Helper()
	text, err := os.ReadFile(composeFile)
	require.NoError(t, err)
	var c compose
	require.NoError(t, yaml.Unmarshal(text, &c))
	return c, string(text)
}

func TestCompose_HasTheWholeTopology(t *testing.T) {
	t.Parallel()
	c, _ := load(t)
	for _, name := range []string{"db", "temporal-db", "temporal", "temporal-ui", "migrate", "api", "worker"} {
		require.Contains(t, c.Services, name)
	}
	require.Equal(t, 2, c.Services["worker"].Deploy.Replicas)
	require.Equal(t, []string{"migrate", "up"}, c.Services["migrate"].Command)
}

func TestCompose_WaitsOnlyForWhatCanBeWaitedFor(t *testing.T) {
	t.Parallel()
	c, _ := load(t)
	for name, s := range c.Services {
		for needed, how := range s.DependsOn {
			require.Contains(t, c.Services, needed, "%s needs it", name)
			switch how["condition"] {
			case "service_healthy":
				require.NotEmpty(t, c.Services[needed].Healthcheck, "%s waits for the health of %s", name, needed)
			case "service_completed_successfully":
				require.True(t, strings.HasPrefix(c.Services[needed].Restart, "on-failure"), "%s waits for the end of %s", name, needed)
			default:
				require.Fail(t, "unknown condition", "%s: %v", name, how)
			}
		}
		require.True(t, s.Restart == "unless-stopped" && s.Healthcheck != nil || strings.HasPrefix(s.Restart, "on-failure"),
			"%s is neither a service with a health check nor a job", name)
	}
}

func TestCompose_ServicesThatTalkShareANetworkAndVolumesExist(t *testing.T) {
	t.Parallel()
	c, _ := load(t)
	for name, s := range c.Services {
		require.NotEmpty(t, s.Networks, name)
		for _, network := range s.Networks {
			require.Contains(t, c.Networks, network, name)
		}
		for _, volume := range s.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if strings.HasPrefix(source, "./") {
				require.FileExists(t, filepath.Join("..", source), name)
			} else {
				require.Contains(t, c.Volumes, source, name)
			}
		}
		for variable, value := range s.Environment {
			for _, host := range regexp.MustCompile(`(?:@|^)([a-z-]+):\d+`).FindAllStringSubmatch(value, -1) {
				other, ok := c.Services[host[1]]
				require.True(t, ok, "%s of %s names %s", variable, name, host[1])
				require.True(t, shareOne(s.Networks, other.Networks), "%s can't reach %s", name, host[1])
			}
		}
	}
}

func shareOne(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				return true
			}
		}
	}
	return false
}

func TestCompose_EveryImageIsPinned(t *testing.T) {
	t.Parallel()
	c, _ := load(t)
	for name, s := range c.Services {
		if strings.HasPrefix(s.Image, "justlogistics:") {
			continue
		}
		require.Regexp(t, `^[a-z/.-]+:\d+\.\d+`, s.Image, name)
	}
	require.Equal(t, tag(c.Services["temporal"].Image), tag(c.Services["temporal-schema"].Image), "the schema belongs to the server's version")
}

func tag(image string) string { return image[strings.LastIndex(image, ":")+1:] }

func TestCompose_EverySecretComesFromTheEnvironmentAndIsInTheExample(t *testing.T) {
	t.Parallel()
	c, text := load(t)
	for name, s := range c.Services {
		for variable, value := range s.Environment {
			if regexp.MustCompile(`PASSWORD|PWD|KEYS`).MatchString(variable) {
				require.Regexp(t, `^\$\{[A-Z_]+:\?.*\}$`, value, "%s of %s", variable, name)
			}
		}
	}
	example, err := os.ReadFile(exampleFile)
	require.NoError(t, err)
	for _, match := range regexp.MustCompile(`\$\{([A-Z_]+)(:\?|:-)?`).FindAllStringSubmatch(text, -1) {
		require.NotEmpty(t, match[2], "%s has neither a default nor a demand", match[1])
		if match[2] == ":?" {
			require.Contains(t, string(example), "\n"+match[1]+"=", "%s is missing in %s", match[1], exampleFile)
		}
	}
}

func TestDynamicConfig_IsAListOfValuesPerKey(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("temporal-dynamicconfig.yaml")
	require.NoError(t, err)
	var settings map[string][]map[string]any
	require.NoError(t, yaml.Unmarshal(text, &settings))
	require.Equal(t, true, settings["matching.enableFairness"][0]["value"])
	require.Equal(t, true, settings["matching.useNewMatcher"][0]["value"])
}
