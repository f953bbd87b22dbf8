-- listed: the rooms that are listed although no node may have members in them.
-- ARGV: 4 how many names at the most.
local most = tonumber(ARGV[4])
call('ZREMRANGEBYSCORE', K .. ':left', '-inf', '(' .. string.format('%.0f', clock()))
local names, count = {}, 0
for _, part in ipairs({':made', ':left'}) do
  count = count + call('ZCARD', K .. part)
  for _, name in ipairs(call('ZRANGE', K .. part, 0, most)) do
    if #names < most then names[#names + 1] = cjson.encode(name) end
  end
end
return '{"c":' .. count .. ',"r":[' .. table.concat(names, ',') .. ']}'
