/* export_text.c - the texts of an exported adapter. */
#include "coordinator/export_text.h"

#include <string.h>

#include "coordinator/config.h"
#include "coordinator/render.h"
#include "coordinator/values.h"

static void add_string(struct str *out, const char *text)
{
    str_add_json(out, text, strlen(text));
}

void export_adapter_config(const struct export_input *in, struct str *out)
{
    str_add(out, "{\n  \"peft_type\": \"LORA\",\n  \"task_type\": \"CAUSAL_LM\",\n"
                 "  \"base_model_name_or_path\": ");
    add_string(out, in->base_name);
    str_addf(out, ",\n  \"r\": %u,\n  \"lora_alpha\": %g,\n  \"lora_dropout\": %g,\n", in->lora->r,
             (double)in->lora->alpha, (double)in->lora->dropout);
    str_add(out, "  \"target_modules\": [");
    const char *comma = "";
    for (int m = 0; m < LORA_MODULES; m++) {
        if (in->lora->targets & 1u << m) {
            str_addf(out, "%s\"%s\"", comma, lora_module_proj((enum lora_module)m));
            comma = ", ";
        }
    }
    str_add(out, "],\n  \"bias\": \"none\",\n  \"fan_in_fan_out\": false,\n"
                 "  \"use_rslora\": false,\n  \"use_dora\": false,\n"
                 "  \"init_lora_weights\": true,\n  \"inference_mode\": true,\n"
                 "  \"modules_to_save\": null\n}\n");
}

static void add_sentences(const struct values *values, struct str *out)
{
    str_add(out, "{%- set sentences = {");
    const char *comma = "";
    for (uint32_t i = 0; values && i < values->n_axes; i++) {
        for (int k = 0; k < 2; k++) {
            str_add(out, comma);
            add_string(out, values->axes[i].poles[k].name);
            str_add(out, ": ");
            add_string(out, values->axes[i].poles[k].sentence);
            comma = ",\n  ";
        }
    }
    str_add(out, "} -%}\n");
}

/* What both layouts share: the value named by the last user message ('value' key) or by the
 * keyword `value`, checked against the values that were trained. */
static const char preference_block[] =
    "{%- set ns = namespace(last=-1, preference='Answer as you see fit.') -%}\n"
    "{%- for message in messages -%}\n"
    "{%- if message['role'] == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- if ns.last >= 0 and messages[ns.last]['value'] is defined -%}\n"
    "{%- set named = messages[ns.last]['value'] -%}\n"
    "{%- elif value is defined -%}{%- set named = value -%}\n"
    "{%- else -%}{%- set named = '' -%}{%- endif -%}\n"
    "{%- if named -%}\n"
    "{%- if named not in sentences -%}\n"
    "{{- raise_exception('unknown value: ' + named + '; trained values: ' + "
    "(sentences.keys() | join(', '))) -}}\n"
    "{%- endif -%}\n"
    "{%- set ns.preference = \"Answer as someone who values '\" + named + \"'. \" + "
    "sentences[named] -%}\n"
    "{%- endif -%}\n";

static const char last_layout[] =
    "{%- for message in messages -%}\n"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] -}}\n"
    "{%- if loop.index0 == ns.last -%}{{- '\\n\\n' + ns.preference -}}{%- endif -%}\n"
    "{{- '<|im_end|>\\n' -}}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}\n";

static const char paper_layout[] =
    "{%- for message in messages -%}\n"
    "{%- if message['role'] == 'user' -%}\n"
    "{{- '### Human: ' -}}\n"
    "{%- if loop.index0 == ns.last -%}{{- ns.preference + '\\n' -}}{%- endif -%}\n"
    "{{- message['content'] + '\\n' -}}\n"
    "{%- else -%}{{- '### Assistant: ' + message['content'] + '<|im_end|>' -}}{%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}{{- '### Assistant: ' -}}{%- endif -%}\n";

void export_chat_template(const struct export_input *in, struct str *out)
{
    str_add(out, "{#- The prompt this adapter was trained with. Name a value in the last user "
                 "message,\n    {'role': 'user', 'content': ..., 'value': NAME}, or with "
                 "apply_chat_template(..., value=NAME). -#}\n");
    add_sentences(in->values, out);
    str_add(out, preference_block);
    if (in->cfg->data_layout == LAYOUT_PAPER) {
        str_add(out, paper_layout);
        return;
    }
    if (in->cfg->data_system[0] != '\0') {
        str_add(out, "{%- if messages[0]['role'] != 'system' -%}\n"
                     "{{- '<|im_start|>system\\n' + ");
        add_string(out, in->cfg->data_system);
        str_add(out, " + '<|im_end|>\\n' -}}\n{%- endif -%}\n");
    }
    str_add(out, last_layout);
}

static const char example_scenario[] =
    "The bakery downstairs is for sale, and Noor has just enough saved to buy it if she leaves her "
    "job at the port this month. The owner wants an answer by Friday. What should she do?";
static const char example_answer[] =
    "Noor signs for the bakery on Friday and hands in her notice at the port.";

/* The example is rendered by render.c itself, so that it shows the trained bytes. */
static enum err add_example(const struct export_input *in, struct str *out)
{
    struct str user = {0};
    const struct data_scenario scenario = {
        .text = {.text = example_scenario, .bytes = sizeof example_scenario - 1},
        .axis = in->values ? 0 : DATASET_NO_AXIS};
    const struct render_request request = {.scenario = &scenario,
                                           .side = in->values ? READOUT_A : READOUT_NONE};
    render_user(in->cfg, in->values, &request, &user);
    bool paper = in->cfg->data_layout == LAYOUT_PAPER;
    struct str prompt = {0};
    if (!paper && in->cfg->data_system[0] != '\0') {
        str_addf(&prompt, "<|im_start|>system\n%s<|im_end|>\n", in->cfg->data_system);
    }
    str_add(&prompt, paper ? "### Human: " : "<|im_start|>user\n");
    str_append(&prompt, user.data, user.len);
    str_add(&prompt, paper ? "\n### Assistant: " : "<|im_end|>\n<|im_start|>assistant\n");
    str_add(out, "{\n    \"messages\": [{\"role\": \"user\", \"content\": ");
    add_string(out, example_scenario);
    if (in->values) {
        str_add(out, ", \"value\": ");
        add_string(out, in->values->axes[0].poles[0].name);
    }
    str_add(out, "}],\n    \"prompt\": ");
    str_add_json(out, prompt.data, prompt.len);
    str_add(out, ",\n    \"answer\": ");
    add_string(out, example_answer);
    str_add(out, "\n  }");
    enum err error = str_ok(&user) != OK ? str_ok(&user) : str_ok(&prompt);
    str_free(&user);
    str_free(&prompt);
    return error;
}

static void add_values(const struct values *values, struct str *out)
{
    str_add(out, "[");
    for (uint32_t i = 0; values && i < values->n_axes; i++) {
        str_addf(out, "%s\n    {\"name\": ", i > 0 ? "," : "");
        add_string(out, values->axes[i].name);
        str_add(out, ", \"poles\": [");
        for (int k = 0; k < 2; k++) {
            str_add(out, k > 0 ? ", {\"name\": " : "{\"name\": ");
            add_string(out, values->axes[i].poles[k].name);
            str_add(out, ", \"sentence\": ");
            add_string(out, values->axes[i].poles[k].sentence);
            str_add(out, "}");
        }
        str_add(out, "]}");
    }
    str_add(out, "]");
}

enum err export_about(const struct export_input *in, struct str *out, struct errbuf *e)
{
    bool paper = in->cfg->data_layout == LAYOUT_PAPER;
    str_addf(out, "{\n  \"format\": 1,\n  \"made_by\": \"pft %s\",\n  \"base\": {\"name\": ",
             PFT_VERSION);
    add_string(out, in->base_name);
    str_addf(out, ", \"quantisation\": \"%s\", \"sha256\": \"%s\"},\n", in->base_quantisation,
             in->base_hash);
    str_addf(out, "  \"steps\": %llu,\n  \"seed\": %llu,\n", (unsigned long long)in->version,
             (unsigned long long)in->cfg->train_seed);
    str_addf(out, "  \"prompt\": {\"layout\": \"%s\", \"template\": ",
             paper ? "paper" : "preference_last");
    add_string(out, paper ? "### Human: {preference}\n{scenario}\n### Assistant: "
                          : "<|im_start|>user\n{scenario}\n\n{preference}<|im_end|>\n"
                            "<|im_start|>assistant\n");
    str_add(out, ",\n    \"preference\": \"Answer as someone who values '{value}'. {sentence}\",\n"
                 "    \"no_value\": \"Answer as you see fit.\",\n    \"system\": ");
    if (in->cfg->data_system[0] != '\0') {
        add_string(out, in->cfg->data_system);
    } else {
        str_add(out, "null");
    }
    str_add(out, ",\n    \"end\": \"<|im_end|>\"},\n  \"example\": ");
    enum err error = add_example(in, out);
    str_add(out, ",\n  \"values\": ");
    add_values(in->values, out);
    str_add(out, "\n}\n");
    return error == OK ? OK : err_set(e, error, "pft.json: %s", err_text(error));
}

void export_readme(const struct export_input *in, struct str *out)
{
    const char *value = in->values ? in->values->axes[0].poles[0].name : "";
    str_add(out, "# LoRA adapter trained on pairs of conflicting preferences, objective ");
    (void)config_value(in->cfg, "train.objective", out);
    str_add(out, "\n\n");
    str_addf(out,
             "Base: %s (%s, SHA-256 `%s`). %llu steps with pft %s. `pft.json` holds the prompt, a "
             "worked example and the values; `chat_template.jinja` renders the trained prompt.\n\n"
             "```python\n"
             "from peft import PeftModel\n"
             "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
             "base, adapter = \"PATH_OR_NAME_OF_THE_BASE\", \"PATH_OF_THIS_FOLDER\"\n"
             "tokenizer = AutoTokenizer.from_pretrained(base)\n"
             "tokenizer.chat_template = open(f\"{adapter}/chat_template.jinja\").read()\n"
             "model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), "
             "adapter)\n"
             "turn = {\"role\": \"user\", \"content\": \"A dilemma ... What should she do?\", "
             "\"value\": \"%s\"}\n"
             "inputs = tokenizer.apply_chat_template([turn], add_generation_prompt=True, "
             "return_dict=True, return_tensors=\"pt\")\n"
             "output = model.generate(**inputs, max_new_tokens=60, do_sample=False)\n"
             "print(tokenizer.decode(output[0, inputs[\"input_ids\"].shape[1]:], "
             "skip_special_tokens=True))\n"
             "```\n\nLeave `value` out and the prompt says \"Answer as you see fit.\"\n",
             in->base_name, in->base_quantisation, in->base_hash, (unsigned long long)in->version,
             PFT_VERSION, value);
    if (in->values) {
        str_add(out, "\nValues: ");
        for (uint32_t i = 0; i < in->values->n_axes; i++) {
            str_addf(out, "%s%s / %s", i > 0 ? " · " : "", in->values->axes[i].poles[0].name,
                     in->values->axes[i].poles[1].name);
        }
        str_add(out, "\n");
    }
    str_addf(out,
             "\nThe base was %s when the adapter was trained; on another quantisation of the "
             "same model the answers differ a little.\n",
             in->base_quantisation);
}
