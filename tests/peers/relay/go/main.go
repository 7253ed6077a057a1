// Kubernetes' own validation of a CustomResourceDefinition and its objects, without an API server: the first line of the
// input is the definition, each further one an object. Each is answered with a line, "ok" or what is wrong.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	objects "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	limits "k8s.io/apiserver/pkg/apis/cel"
)

func main() {
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 1<<20)
	input.Scan()
	validate := answerDefinition(input.Bytes())
	for input.Scan() {
		var object map[string]any
		check(json.Unmarshal(input.Bytes(), &object))
		answer(validate(object))
	}
	check(input.Err())
}

func answerDefinition(text []byte) func(object map[string]any) field.ErrorList {
	var external v1.CustomResourceDefinition
	check(json.Unmarshal(text, &external))
	v1.SetDefaults_CustomResourceDefinition(&external)
	v1.SetDefaults_CustomResourceDefinitionSpec(&external.Spec)
	scheme := runtime.NewScheme()
	install.Install(scheme)
	var crd apiextensions.CustomResourceDefinition
	check(scheme.Convert(&external, &crd, nil))
	crd.Status.StoredVersions = []string{external.Spec.Versions[0].Name}
	answer(validation.ValidateCustomResourceDefinition(context.Background(), &crd))

	// Conversion moves the only version's schema up.
	structural, err := schema.NewStructural(crd.Spec.Validation.OpenAPIV3Schema)
	check(err)
	types, _, err := objects.NewSchemaValidator(crd.Spec.Validation.OpenAPIV3Schema)
	check(err)
	rules := cel.NewValidator(structural, true, limits.PerCallLimit)
	return func(object map[string]any) field.ErrorList {
		errors := objects.ValidateCustomResource(nil, object, types)
		if len(errors) > 0 {
			return errors
		}
		errors, _ = rules.Validate(context.Background(), nil, structural, object, nil, limits.RuntimeCELCostBudget)
		return errors
	}
}

func answer(errors field.ErrorList) {
	if len(errors) == 0 {
		fmt.Println("ok")
		return
	}
	fmt.Println(strings.ReplaceAll(errors.ToAggregate().Error(), "\n", " "))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
