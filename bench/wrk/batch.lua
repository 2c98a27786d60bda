-- Batches of deductions. Arguments: API key, run, number of accounts, commands in a batch.
dofile((os.getenv("WRK_DIR") or ".") .. "/common.lua")

function init(args)
  common(args)
  size = tonumber(args[4])
end

function request()
  local commands = {}
  for i = 1, size do
    commands[i] = '{"type":"deduct","idempotency_key":"' .. next_key() .. '","customer_id":"'
      .. customer() .. '","amount":1}'
  end
  return post("/v1/batches", '{"commands":[' .. table.concat(commands, ",") .. "]}")
end
