-- list_rooms: the room list, or the first rooms of it.
call('ZREMRANGEBYSCORE', key .. ':left', '-inf', '(' .. string.format('%.0f', clock()))
local names, count = {}, 0
for _, part in ipairs({':made', ':left'}) do
  count = count + call('ZCARD', key .. part)
  for _, name in ipairs(call('ZRANGE', key .. part, 0, LISTED_ROOMS_MAX)) do
    if #names < LISTED_ROOMS_MAX then names[#names + 1] = cjson.encode(name) end
  end
end
return '{"c":' .. count .. ',"r":[' .. table.concat(names, ',') .. ']}'
