-- In: a TracingPolicy or TracingPolicyNamespaced, as `obj`. Out: its health in Argo CD, with the reason in words.
-- Argo CD runs it as Lua 5.1 without the string library.

local function answer(status, message)
  return {status = status, message = message}
end

local status = obj.status
if status == nil or status.conditions == nil then
  return answer("Progressing", "the operator has not judged the policy yet")
end
if status.observedGeneration ~= nil and status.observedGeneration ~= obj.metadata.generation then
  return answer("Progressing", "the operator has not judged the latest change yet")
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end
local function is_true(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end

if is_true("Reconciling") then
  return answer("Progressing", conditions.Reconciling.message)
end
if is_true("Stalled") then
  return answer("Degraded", conditions.Stalled.message)
end
if is_true("Ready") then
  return answer("Healthy", conditions.Ready.message)
end
if conditions.Ready ~= nil then
  return answer("Progressing", conditions.Ready.message)
end
return answer("Progressing", "the status does not say whether the policy is ready")
