//! The prompts of current model families. The templates are written for these tests from what the families document of their
//! prompts, with the constructs that their own templates use. The expected prompts were made with Python's jinja2 3.1.6 in
//! the settings of transformers, and the same date.

use super::{message, rendered};
use eval::ChatMessage;

fn question() -> Vec<ChatMessage> {
    vec![message("user", "Hi <b> & 'x' é")]
}

fn conversation() -> Vec<ChatMessage> {
    vec![
        message("system", "Be brief."),
        message("user", "Hi <b> & 'x' é"),
        message("assistant", "Yes."),
        message("user", "Why?"),
    ]
}

#[test]
fn llama_3() {
    let template = r###"{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}{%- set rules = messages[0]['content']|trim %}{%- set messages = messages[1:] %}{%- else %}{%- set rules = '' %}{%- endif %}
{%- if strftime_now is defined and date_string is not defined %}
    {%- set day = strftime_now("%d %b %Y") %}
{%- else %}
    {%- set day = date_string | default("26 Jul 2024") %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{{- "Cutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " ~ day ~ "\n\n" }}
{{- rules }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}
"###;
    assert_eq!(
        rendered(template, &question()),
        "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 01 Jan 2026\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi <b> & 'x' é<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    );
    assert_eq!(
        rendered(template, &conversation()),
        "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 01 Jan 2026\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi <b> & 'x' é<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYes.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    );
}

#[test]
fn qwen_2_5() {
    let template = r###"{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\n' ~ messages[0].content ~ '<|im_end|>\n' }}
{%- else %}
    {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
{%- endif %}
{%- for turn in messages %}
    {%- if turn.role == "user" or (turn.role == "system" and not loop.first) or (turn.role == "assistant" and not turn.tool_calls) %}
        {{- '<|im_start|>' + turn.role + '\n' + turn.content + '<|im_end|>' + '\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"###;
    assert_eq!(
        rendered(template, &question()),
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi <b> & 'x' é<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(
        rendered(template, &conversation()),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <b> & 'x' é<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn qwen_3() {
    let template = r###"{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}{%- endif %}
{%- set ns = namespace(searching=true, last=messages|length - 1) %}
{%- for turn in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and turn.role == "user" and turn.content is string and not (turn.content.startswith('<tool_response>') and turn.content.endswith('</tool_response>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for turn in messages %}
    {%- if turn.role == "user" or (turn.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + turn.role + '\n' + turn.content + '<|im_end|>' + '\n' }}
    {%- elif turn.role == "assistant" %}
        {%- set said = turn.content %}
        {%- set thought = '' %}
        {%- if turn.reasoning_content is string %}
            {%- set thought = turn.reasoning_content %}
        {%- elif '</think>' in said %}
            {%- set thought = said.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set said = said.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}
            {{- '<|im_start|>assistant\n<think>\n' + thought.strip('\n') + '\n</think>\n\n' + said.lstrip('\n') }}
        {%- else %}
            {{- '<|im_start|>assistant\n' + said }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}
"###;
    assert_eq!(rendered(template, &question()), "<|im_start|>user\nHi <b> & 'x' é<|im_end|>\n<|im_start|>assistant\n");
    assert_eq!(
        rendered(template, &conversation()),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <b> & 'x' é<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn gemma_3() {
    let template = r###"{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set prefix = "" -%}
    {%- set turns = messages -%}
{%- endif -%}
{%- for turn in turns -%}
    {%- if (turn['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("user and assistant must take turns, and turn " ~ loop.index ~ " is the " ~ turn.role ~ "'s") }}
    {%- endif -%}
    {%- set role = "model" if turn['role'] == 'assistant' else turn['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + (prefix if loop.first else "") }}
    {%- if turn['content'] is string -%}
        {{ turn['content'] | trim }}
    {%- elif turn['content'] is iterable -%}
        {%- for item in turn['content'] -%}{%- if item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}{%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\n' }}
{%- endif -%}
"###;
    assert_eq!(
        rendered(template, &question()),
        "<s><start_of_turn>user\nHi <b> & 'x' é<end_of_turn>\n<start_of_turn>model\n"
    );
    assert_eq!(
        rendered(template, &conversation()),
        "<s><start_of_turn>user\nBe brief.\n\nHi <b> & 'x' é<end_of_turn>\n<start_of_turn>model\nYes.<end_of_turn>\n<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n"
    );
}

#[test]
fn mistral() {
    let template = r###"{%- if messages[0]["role"] == "system" %}
    {%- set rules = messages[0]["content"] %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{%- set askers = turns | selectattr("role", "equalto", "user") | list %}
{{- bos_token }}
{%- for turn in turns %}
    {%- if turn.role not in ["user", "assistant"] %}{{- raise_exception("only users and assistants speak here, not %s" % turn.role) }}{%- endif %}
    {%- if (turn["role"] == "user") != (loop.index0 % 2 == 0) %}
        {{- raise_exception("two turns of one role follow each other") }}
    {%- endif %}
    {%- if turn["role"] == "user" %}
        {%- if rules is defined and turn == askers[-1] %}
            {{- "[INST] " + rules + "\n\n" + turn["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + turn["content"] + "[/INST]" }}
        {%- endif %}
    {%- else %}
        {{- " " + turn["content"] | trim + eos_token }}
    {%- endif %}
{%- endfor %}
"###;
    assert_eq!(rendered(template, &question()), "<s>[INST] Hi <b> & 'x' é[/INST]");
    assert_eq!(
        rendered(template, &conversation()),
        "<s>[INST] Hi <b> & 'x' é[/INST] Yes.</s>[INST] Be brief.\n\nWhy?[/INST]"
    );
}

#[test]
fn phi_4() {
    let template = r###"{% for turn in messages %}
{% set opened = '<|im_start|>%s<|im_sep|>' % turn.role %}
{% if turn.role in ('system', 'user') %}
{{ opened ~ turn['content'] ~ '<|im_end|>' }}
{%- elif turn.role == 'assistant' %}
{{- opened }}{% generation %}{{ turn['content'] + '<|im_end|>' }}{% endgeneration %}
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"###;
    assert_eq!(
        rendered(template, &question()),
        "<|im_start|>user<|im_sep|>Hi <b> & 'x' é<|im_end|><|im_start|>assistant<|im_sep|>"
    );
    assert_eq!(
        rendered(template, &conversation()),
        "<|im_start|>system<|im_sep|>Be brief.<|im_end|><|im_start|>user<|im_sep|>Hi <b> & 'x' é<|im_end|><|im_start|>assistant<|im_sep|>Yes.<|im_end|><|im_start|>user<|im_sep|>Why?<|im_end|><|im_start|>assistant<|im_sep|>"
    );
}

#[test]
fn deepseek_r1() {
    let template = r###"{%- set ns = namespace(rules='', after_tool=false) -%}
{%- for turn in messages if turn.role == 'system' -%}{%- set ns.rules = ns.rules ~ turn.content -%}{%- endfor -%}
{{- bos_token ~ ns.rules -}}
{%- for turn in messages -%}
{%- if turn['role'] == 'user' -%}
{%- set ns.after_tool = false -%}{{- '<｜User｜>' + turn['content'] -}}
{%- elif turn['role'] == 'assistant' and turn['content'] is not none -%}
{{- '<｜Assistant｜>' ~ turn['content'].split('</think>')[-1] ~ '<｜end▁of▁sentence｜>' -}}
{%- elif turn['role'] == 'tool' -%}
{%- set ns.after_tool = true -%}{{- '<｜tool▁output▁begin｜>' ~ turn.content ~ '<｜tool▁output▁end｜>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and not ns.after_tool -%}{{- '<｜Assistant｜><think>\n' -}}{%- endif -%}"###;
    assert_eq!(rendered(template, &question()), "<s><｜User｜>Hi <b> & 'x' é<｜Assistant｜><think>\n");
    assert_eq!(
        rendered(template, &conversation()),
        "<s>Be brief.<｜User｜>Hi <b> & 'x' é<｜Assistant｜>Yes.<｜end▁of▁sentence｜><｜User｜>Why?<｜Assistant｜><think>\n"
    );
}

#[test]
fn smollm3() {
    let template = r###"{%- if enable_thinking is not defined -%}{%- set enable_thinking = true -%}{%- endif -%}
{%- if messages[0].role == "system" -%}
    {%- set rules = messages[0].content -%}
    {%- if "/no_think" in rules -%}{%- set mode = "/no_think" -%}{%- elif "/think" in rules -%}{%- set mode = "/think" -%}{%- endif -%}
    {%- set rules = rules.replace("/no_think", "").replace("/think", "").rstrip() -%}
{%- endif -%}
{%- if mode is not defined -%}{%- set mode = "/think" if enable_thinking else "/no_think" -%}{%- endif -%}
{{- "<|im_start|>system\n## Metadata\n\n" -}}
{{- "Knowledge Cutoff Date: June 2025\n" -}}
{%- set today = strftime_now("%d %B %Y") -%}
{{- "Today Date: " ~ today ~ "\n" -}}
{{- "Reasoning Mode: " + mode + "\n\n" -}}
{%- if rules -%}{{- "## Custom Instructions\n\n" + rules + "\n\n" -}}{%- endif -%}
{{- "<|im_end|>\n" -}}
{%- for turn in messages -%}
    {%- set said = turn.content if turn.content is string else "" -%}
    {%- if turn.role == "user" -%}
        {{ "<|im_start|>" + turn.role + "\n" + said + "<|im_end|>\n" }}
    {%- elif turn.role == "assistant" -%}
        {% generation %}
        {%- if mode == "/think" -%}
            {{ "<|im_start|>assistant\n" + said.lstrip("\n") + "<|im_end|>\n" }}
        {%- else -%}
            {{ "<|im_start|>assistant\n" + "<think>\n\n</think>\n" + said.lstrip("\n") + "<|im_end|>\n" }}
        {%- endif -%}
        {% endgeneration %}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "<|im_start|>assistant\n" if mode == "/think" else "<|im_start|>assistant\n<think>\n\n</think>\n" -}}
{%- endif -%}
"###;
    assert_eq!(
        rendered(template, &question()),
        "<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\nToday Date: 01 January 2026\nReasoning Mode: /think\n\n<|im_end|>\n<|im_start|>user\nHi <b> & 'x' é<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(
        rendered(template, &conversation()),
        "<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\nToday Date: 01 January 2026\nReasoning Mode: /think\n\n## Custom Instructions\n\nBe brief.\n\n<|im_end|>\n<|im_start|>user\nHi <b> & 'x' é<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn granite_3() {
    let template = r###"{%- if messages[0]['role'] == 'system' %}
    {%- set rules = messages[0]['content'] %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set rules = "Knowledge Cutoff Date: April 2024.\nToday's Date: " + strftime_now('%B %d, %Y') + ".\nYou are Granite, developed by IBM." %}
    {%- if tools and documents %}{%- set rules = rules + " You have tools and documents." %}{%- else %}{%- set rules = rules + " You are a helpful AI assistant." %}{%- endif %}
    {%- set turns = messages %}
{%- endif %}
{{- '<|start_of_role|>system<|end_of_role|>' + rules + '<|end_of_text|>\n' }}
{%- for turn in turns %}
    {{- '<|start_of_role|>' + turn['role'] + '<|end_of_role|>' + turn['content'] + '<|end_of_text|>\n' }}
    {%- if loop.last and add_generation_prompt %}
        {{- '<|start_of_role|>assistant' }}
        {%- if controls %}{{- ' ' + controls | tojson }}{%- endif %}
        {{- '<|end_of_role|>' }}
    {%- endif %}
{%- endfor %}
"###;
    assert_eq!(
        rendered(template, &question()),
        "<|start_of_role|>system<|end_of_role|>Knowledge Cutoff Date: April 2024.\nToday's Date: January 01, 2026.\nYou are Granite, developed by IBM. You are a helpful AI assistant.<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Hi <b> & 'x' é<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>"
    );
    assert_eq!(
        rendered(template, &conversation()),
        "<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Hi <b> & 'x' é<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>Yes.<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Why?<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>"
    );
}

#[test]
fn olmo_2() {
    let template = r###"{{ bos_token }}{% for turn in messages %}{% if turn['role'] == 'system' %}{{ '<|system|>\n' + turn['content'] + '\n' }}{% elif turn['role'] == 'user' %}{{ '<|user|>\n' + turn['content'] + '\n' }}{% elif turn['role'] == 'assistant' %}{% if not loop.last %}{{ '<|assistant|>\n' + turn['content'] + eos_token + '\n' }}{% else %}{{ '<|assistant|>\n' + turn['content'] + eos_token }}{% endif %}{% endif %}{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"###;
    assert_eq!(rendered(template, &question()), "<s><|user|>\nHi <b> & 'x' é\n<|assistant|>\n");
    assert_eq!(
        rendered(template, &conversation()),
        "<s><|system|>\nBe brief.\n<|user|>\nHi <b> & 'x' é\n<|assistant|>\nYes.</s>\n<|user|>\nWhy?\n<|assistant|>\n"
    );
}

#[test]
fn command_r() {
    let template = r###"{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}{% set rules = messages[0]['content'] %}{% else %}{% set turns = messages %}{% set rules = false %}{% endif %}{% if rules != false %}{{ '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' + rules + '<|END_OF_TURN_TOKEN|>' }}{% endif %}{% for turn in turns %}{% if (turn['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('two turns of one role follow each other') }}{% endif %}{% set said = turn['content'] %}{{ '<|START_OF_TURN_TOKEN|>' ~ {'user': '<|USER_TOKEN|>', 'assistant': '<|CHATBOT_TOKEN|>'}[turn['role']] + said.strip() + '<|END_OF_TURN_TOKEN|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}"###;
    assert_eq!(
        rendered(template, &question()),
        "<s><|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi <b> & 'x' é<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
    );
    assert_eq!(
        rendered(template, &conversation()),
        "<s><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi <b> & 'x' é<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Yes.<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>Why?<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
    );
}
