package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Where a flag's value comes from: the command line beats the environment, that beats the file, that beats the default.

const envPrefix = "ULTRA_"

// sources fills in the flags that the command line does not give. For one goroutine.
type sources struct {
	given map[string]bool // flags on the command line or in the file
}

// fill fills in the flags of a verb from the environment, those named in shared only unless that is nil, and from the file
// of its flag --config, if it has one.
func (s *sources) fill(cmd *cobra.Command, shared []string) error {
	flags := cmd.Flags()
	s.given = make(map[string]bool)
	flags.Visit(func(f *pflag.Flag) { s.given[f.Name] = true })
	if err := fromEnvironment(flags, shared); err != nil {
		return err
	}
	config := flags.Lookup("config")
	if config == nil || config.Value.String() == "" {
		return nil
	}
	return fromFile(cmd, config.Value.String(), s.given)
}

// settable tells whether something else than the command line may set a flag.
func settable(f *pflag.Flag) bool { return f.Name != "help" && !f.Hidden }

// fromEnvironment sets the flags that the command line does not.
func fromEnvironment(flags *pflag.FlagSet, shared []string) error {
	var errs []error
	flags.VisitAll(func(flag *pflag.Flag) {
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		value := os.Getenv(name)
		if value == "" || flag.Changed || !settable(flag) || shared != nil && !slices.Contains(shared, flag.Name) {
			return
		}
		var err error
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			err = list.Replace(strings.Split(value, ","))
			flag.Changed = err == nil
		} else {
			err = flags.Set(flag.Name, value)
		}
		if err != nil {
			errs = append(errs, usageError{fmt.Errorf("%s in the environment: %w", name, valueError(err))})
		}
	})
	return errors.Join(errs...)
}

// inFile are the flags whose value is the name of a file: in a configuration file, relative to its folder.
var inFile = []string{"secret-file", "http-token-file", "share", "cpuprofile"}

// fromFile sets the flags that neither the command line nor the environment set from a TOML file with their names as keys,
// and notes which.
func fromFile(cmd *cobra.Command, file string, given map[string]bool) error {
	var values map[string]any
	meta, err := toml.DecodeFile(file, &values)
	if err != nil {
		return usageError{fmt.Errorf("--config %s: %w", file, err)}
	}
	seen := make(map[string]bool)
	for _, key := range meta.Keys() { // in the order of the file; those of a table too, which comes as one value
		name := key[0]
		if seen[name] {
			continue
		}
		seen[name] = true
		flag := cmd.Flags().Lookup(name)
		switch {
		case name == "secret":
			err = errors.New("a secret has no place in it; put it in a file of its own (ultra keygen FILE) and name that with secret-file")
		case flag == nil || !settable(flag) || name == "config":
			meant := ""
			if near := nearestKey(cmd.Flags(), name); near != "" {
				meant = fmt.Sprintf(" (did you mean %q?)", near)
			}
			err = fmt.Errorf("%s has no key %q%s; its keys are its flags without dashes (ultra help %s)", cmd.Name(), name, meant, cmd.Name())
		case !flag.Changed:
			value := values[name]
			if path, ok := value.(string); ok && slices.Contains(inFile, name) && !filepath.IsAbs(path) {
				value = filepath.Join(filepath.Dir(file), path)
			}
			err = setFromFile(cmd.Flags(), flag, value)
			given[name] = true
		}
		if err != nil {
			return usageError{fmt.Errorf("%s: %w", file, err)}
		}
	}
	return nil
}

// setFromFile sets a flag to a value of the type that it has in TOML.
func setFromFile(flags *pflag.FlagSet, flag *pflag.Flag, value any) error {
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		texts, err := textsOf(flag.Name, value)
		if err == nil {
			err = list.Replace(texts)
		}
		flag.Changed = true
		return err
	}
	text, wants := "", ""
	switch kind := flag.Value.Type(); v := value.(type) {
	case string:
		if text = v; kind == "bool" || kind == "int" {
			wants = map[string]string{"bool": "true or false, without quotes", "int": "a number, without quotes"}[kind]
		}
	case bool:
		if text = strconv.FormatBool(v); kind != "bool" {
			wants = "a text in quotes"
		}
	case int64:
		text = strconv.FormatInt(v, 10)
		switch kind {
		case "int":
		case "duration":
			wants = `a text with its unit, such as "5s"`
		default:
			wants = "a text in quotes"
		}
	default:
		wants = "one value"
	}
	if wants != "" {
		return fmt.Errorf("%s is %v; it must be %s", flag.Name, value, wants)
	}
	return valueError(flags.Set(flag.Name, text))
}

// textsOf gives the texts of a key that may be given several times: one, a list, or as a table KEY=VALUE each.
func textsOf(name string, value any) ([]string, error) {
	var texts []string
	switch v := value.(type) {
	case string:
		return []string{v}, nil
	case []any:
		for _, one := range v {
			text, ok := one.(string)
			if !ok {
				return nil, fmt.Errorf("%s holds %v; it must be a list of texts in quotes", name, one)
			}
			texts = append(texts, text)
		}
		return texts, nil
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			text, ok := v[key].(string)
			if !ok {
				return nil, fmt.Errorf("%s.%s is %v; it must be a text in quotes", name, key, v[key])
			}
			texts = append(texts, key+"="+text)
		}
		return texts, nil
	}
	return nil, fmt.Errorf("%s is %v; it must be a text in quotes, or a list of them", name, value)
}

// nearestKey is the key, or the flag, that looks most like what somebody wrote; "" if none looks like it.
func nearestKey(flags *pflag.FlagSet, wrote string) string {
	nearest, least := "", 0
	flags.VisitAll(func(f *pflag.Flag) {
		if d := distance(strings.ToLower(wrote), f.Name); settable(f) && f.Name != "config" && (nearest == "" || d < least) {
			nearest, least = f.Name, d
		}
	})
	if least > 1+len(wrote)/3 {
		return ""
	}
	return nearest
}

// distance is how many letters are to be put in, taken out or replaced to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0] // of the row above
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
